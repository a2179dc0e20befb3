"""The site that `make docs` builds: Sphinx, with MyST for Markdown and Furo for its looks.

Why Sphinx: it has had releases for 18 years and has them still, and it makes of the same Markdown
that one reads in the repository a site, with links checked down to the heading. MkDocs had its last
release in 2024, Material for MkDocs is no longer developed, and Zensical, its successor, is young.

The source folder is the repository's, so that a link leads to the same file here and there, also to
one outside of docs/ (policies, dashboards).
"""

project = "tslc"
author = "the authors of tslc"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
# Only what is named; a walk through .venv would be a long one.
include_patterns = ["README.md", "docs/**", "deploy/**/README.md", "docker/README.md"]
exclude_patterns = [
    ".*", ".venv", "archives", "benchmarks", "dist", "handlers", "site", "tests", "toolkit",
]  # fmt: skip

nitpicky = True
# Headings are named as GitHub names them.
myst_heading_anchors = 4
# A block says its language; what does not is text.
highlight_language = "none"
# JSON and YAML are shown with … for what is left out.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "tslc"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# A page at the top that leads to docs/index.html.
html_extra_path = ["_extra"]

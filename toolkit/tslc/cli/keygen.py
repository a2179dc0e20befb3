"""`tslc keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from tslc.cli.node_options import plan_text
from tslc.cli.output import dry_run_option, emit, json_option


@click.command("keygen")
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--kms", metavar="KEY", help="Fetch the public half of this AWS KMS key instead.")
@dry_run_option
@json_option
def command(name: Path, kms: str | None, dry_run: bool, as_json: bool) -> None:
    """Make a key pair to sign versions with: NAME.key and NAME.pub.

    NAME.key stays secret (tslc push --sign NAME.key); NAME.pub goes into the trusted_keys of an
    environment in tslc.yaml. A key in AWS KMS is made there (ECC_NIST_P256, SIGN_VERIFY).
    """
    if dry_run:
        files = [f"{name}.pub"] if kms else [f"{name}.key, mode 0600", f"{name}.pub"]
        steps = tuple(f"write {file}" for file in files)
        emit({"plan": list(steps)}, plan_text(steps), as_json=as_json)
        return
    from tslc.verbs.keygen import keygen, public_key_of

    made = public_key_of(kms, name) if kms else keygen(name)
    document = {
        "private_key": str(made.private) if made.private else None,
        "public_key": str(made.public),
        "key": made.key,
    }
    lines = [
        f"public key   {made.public}   (for trusted_keys in tslc.yaml)",
        f"key          {made.key}",
    ]
    if made.private:
        lines.insert(0, f"private key  {made.private}   (keep it secret; it has no password)")
    emit(document, "\n".join(lines), as_json=as_json)

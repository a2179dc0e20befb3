"""Hazards S1 to S14 of a harmful text, by its words: an approximation."""

from __future__ import annotations

import re

OTHER = "S2"
"""What a harmful text is filed under when no word tells."""
_MOST = 2

_WORDS = {
    "S1": r"kill|murder|assassin|poison|tortur|terroris|kidnap|violen|assault|shoot|stab|hitman|"
    r"arson|attack on|massacre|hostage|strangl|cruelty|weapon|firearm|\bguns?\b|"
    r"harm (?:some|other|a )|"
    r"behead|dismember|riot|fight|physical harm",
    "S2": r"steal|theft|thief|\brob|fraud|launder|drug|meth\b|metham|cocaine|heroin|fentanyl|\blsd|"
    r"\bmdma|forg(?:e|ing)|counterfeit|scam|phish|hack|smuggl|brib|burgl|embezzl|tax|blackmail|"
    r"extort|insider trading|illegal|shoplift|black market|traffick|break into|breaking into|"
    r"cheat|vandal|fake id|launder|ponzi|cyber|without (?:getting|being) caught|poach|gambl",
    "S3": r"\brap(?:e|ed|ing|ist)\b|sex(?:ual)? traffick|sexual(?:ly)? (?:assault|harass|"
    r"exploit|abus)|"
    r"molest|revenge porn|date.rape|without (?:her|his|their) consent|human traffick",
    "S4": r"child (?:porn|abuse|exploit|sex|molest)|child.*(?:groom|sexual|porn|nude)|groom.*child|"
    r"pedophil|paedophil|underage|minors?\b.*(?:sex|nude|porn)|(?:sex|nude|porn).*\bminor",
    "S5": r"defam|libel|slander|smear|rumou?r|false(?:ly)? accus|reputation|fake (?:news|"
    r"article|scandal)|"
    r"disinformation|misinformation|fabricat|conspirac|false (?:news|article|information)",
    "S6": r"medical|vaccin|medication|\bdos(?:e|age)|diagnos|\bcure|cancer|\btreat(?:ment|ing)? |"
    r"schizophren|legal advice|invest|financial|\bstocks?\b|doctor|eating disorder|therapy",
    "S7": r"personal (?:info|data)|private (?:info|data|message|email)|social security|\bdox|stalk|"
    r"home address|\bspy|track(?:ing)? (?:someone|a person|people|her|his|their)|identity|"
    r"sensitive (?:info|data)|credit card|surveill|eavesdrop|confidential|privacy|passwords?",
    "S8": r"copyright|pirat|plagiar|torrent|lyrics|long passage|intellectual property|trade secret|"
    r"licen[cs]e key|illegally download|download.*illegal|counterfeit (?:money|goods|"
    r"software|prod)|"
    r"copies of|patent",
    "S9": r"bomb|explosiv|chemical (?:weapon|warfare|agent)|bio(?:logical)?.?(?:weapon|"
    r"warfare)|nuclear|"
    r"anthrax|\bricin|\bsarin|mustard gas|napalm|molotov|nerve (?:gas|agent)|dimethyl ?mercury|"
    r"botulin|smallpox|\bvx\b|chlorine|phosgene|cyanide|uranium|plutonium|grenade|mass destruction|"
    r"tabun|novichok|lethal gas|deadly virus|pathogen|parathion|weaponiz",
    "S10": r"racis|racial|\bhate|slur|antisemit|holocaust|inferior|discriminat|sexis|ethnic|gender|"
    r"immigrant|minorit|nazi|xenophob|homophob|transphob|muslim|\bjew|bigot|stereotyp|derogat|"
    r"women|bully|harass|genocide|lgbt|supremac|disabilit|islam|bull(?:y|ied)",
    "S11": r"suicid|self.?harm|anorexi|eating disorder|bulimi|(?:kill|harm|cut|hang|hurt)(?:ing)? "
    r"(?:yourself|myself|themsel|oneself|himself|herself)|end my life|starv|overdos|painless",
    "S12": r"porn|erotic|explicit (?:sex|scene|content|detail)|sexually explicit|nude|"
    r"\bnaked|orgasm|"
    r"sexual (?:act|content|encounter|position)|steamy|\bsex\b",
    "S13": r"election|\bvot(?:e|er|ers|ing)\b|ballot|polling|elected",
    "S14": r"malware|ransomware|keylogg|computer (?:virus|worm)|\bvirus (?:that|to|and|for|"
    r"designed)|"
    r"trojan|botnet|rootkit|exploit|\bddos|denial.of.service|sql injection|backdoor|privilege|"
    r"shell ?code|reverse shell|zip bomb|\bscript|\bcode\b|program that|\broot\b|buffer overflow|"
    r"vulnerabilit|cross-site|sandbox|cryptojack",
}
TOPICS = {
    "exploits": "S14",
    "cyber": "S14",
    "hate_speech": "S10",
    "hate_speech_multi_score": "S10",
    "mini_hate_speech": "S10",
    "harassment_bullying": "S10",
    "privacy": "S7",
    "self_harm": "S11",
    "sexual": "S12",
    "violence": "S1",
    "violence_multi_score": "S1",
    "chemical_biological": "S9",
    "illegal_activity": "S2",
    "phishing": "S2",
}
"""Topics of scored answers that are hazards here; misinformation and bias are none."""
_PATTERNS = {code: re.compile(words, re.IGNORECASE) for code, words in _WORDS.items()}
# Where a special hazard is found, these general ones say little.
_GENERAL = {"S1": {"S9", "S11", "S3", "S4"}, "S2": {"S7", "S8", "S14", "S9", "S4", "S3", "S13"}}


def hazards(text: str) -> tuple[str, ...]:
    """Codes in order, one at least and two at most."""
    found = [code for code, pattern in _PATTERNS.items() if pattern.search(text)]
    kept = [one for one in found if not _GENERAL.get(one, set()) & set(found)]
    return tuple(kept[:_MOST]) or (OTHER,)


def mentions_any(text: str) -> bool:
    """Whether a word of any hazard occurs."""
    return any(pattern.search(text) for pattern in _PATTERNS.values())

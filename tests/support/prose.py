"""Phrases that sentences for people do not use: each needed a second reading."""

import re

_ARTICLE = r"(?:the|a|an|its|their|this|that|each|every|it|they|one)"
_RELATIVE = r"(?:that|which|who|whose|whom|where|when|what|why|how)"
_VERB = r"(?:is|are|was|were|has|have|had|does|do|cannot|can|may|would|could|must)"

# What is written, as a pattern without regard to case, and what to write in its place.
UNWANTED = {
    r"\btold\b": "say who says it; “distinguish” for “tell apart”",
    r"\banew\b": "again",
    r"\bof ours\b": "raybench's, or our",
    r"\bof others\b": "of other users, of other runs",
    r"\b(?:that|which) (?:is|are|was|were) (?:none|no (?:answer|load|failure|common one))\b": "say what it is",
    rf"[,;] for (?:(?!{_RELATIVE}\b)[\w'’-]+ ){{1,4}}{_VERB}\b": "because, since",
    r"[,;] for (?:it|they|there|nobody|nothing)\b": "because, since",
    rf"\bwhat (?:{_ARTICLE} )?[\w'’-]+ (?:has|have)\b": "the … of …",
    r"\bheed(?:s|ed)?\b": "react to, exit",
    r"\bbeforehand\b": "before the start",
    r"\b(?:runs|run) already\b": "is already running",
    r"\bfrom outside\b": "say who interrupted",
    r"\ball the same\b": "anyway, still",
    r"\bheld against\b|\bholding\b[^.]{0,40}\bagainst\b|\bholds?\b[^.]{0,30}\bagainst\b": "compare with, check against",
    r"\bwould flatter\b|\bstood for\b|\bstand for the\b": "say what was sent",
    r"\bin in\b": "rephrase",
}
_PATTERNS = [re.compile(pattern, re.IGNORECASE) for pattern in UNWANTED]


def found(text: str) -> list[str]:
    """The unwanted phrases of a text as they stand in it, in order of appearance; line breaks count as spaces."""
    flat = re.sub(r"\s+", " ", text)
    hits = [match for pattern in _PATTERNS for match in pattern.finditer(flat)]
    return [match.group() for match in sorted(hits, key=lambda match: match.start())]


def prose_of(markdown: str) -> str:
    """A page without its front matter, code blocks, code words and link targets."""
    without_front = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.S)
    without_blocks = re.sub(r"^ *```.*?^ *```$", "", without_front, flags=re.M | re.S)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`\n]*`", "CODE", without_blocks))

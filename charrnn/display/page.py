"""Self-contained HTML pages: one file that fetches nothing."""

from __future__ import annotations

from html import escape

from charrnn.display.terminal import escape_character, safe_text
from charrnn.files import EXPORT_MARK

# Nothing is loaded or run, whatever the text in the page contains.
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1e21; --faint: #767676; --rule: #d9dce0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #121417; --ink: #dfe2e6; --faint: #8b8f94; --rule: #33383e; }
}
body { margin: 2rem auto; max-width: 70rem; padding: 0 1.5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; font-weight: 600; margin: 0 0 .3rem; }
h2 { font-size: 1.05rem; font-weight: 600; margin: 2rem 0 .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0; color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
""".strip()


def html_text(text: str) -> str:
    """Escape text for elements and attributes of HTML or XML.

    Newlines and tabs stay; other controls, and characters that XML cannot hold, become visible forms.
    """
    allowed = (
        safe_text(text).replace("\ufffe", escape_character("\ufffe")).replace("\uffff", escape_character("\uffff"))
    )
    return escape(allowed, quote=True)


def page(title: str, facts: dict[str, str], body: str, style: str) -> str:
    """Return a page with a heading, a list of facts (name → value) and a body of HTML with its CSS."""
    listed = "".join(
        f"<dt>{html_text(name)}</dt><dd><bdi>{html_text(value)}</bdi></dd>" for name, value in facts.items()
    )
    heading = f"<h1>{html_text(title)}</h1>\n<dl>{listed}</dl>\n"
    return document(title, heading + body, f"\n{STYLE}\n{style}\n", CONTENT_POLICY)


def document(title: str, body: str, style: str, policy: str) -> str:
    """Return an HTML document. body: HTML. style: CSS. policy: what a browser may load and run."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
{EXPORT_MARK}
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="{policy}"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="referrer" content="no-referrer"/>
<title>{html_text(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

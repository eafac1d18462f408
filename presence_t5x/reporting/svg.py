"""The pieces of every chart: the outer element, texts, markers, axes; and escaping.

Text in, text out. `plots` and `distributions` compose them; the page's style sheet gives the
classes their looks.
"""

import html

from presence_t5x.reporting.scales import Scale, format_number, nice_ticks


def svg(width: float, height: float, title: str, description: str, body: str, css_class="") -> str:
    """Returns the outer element; it scales with the column that holds it."""
    widest = width if css_class else width * 1.15
    box = f'class="chart {css_class}" viewBox="0 0 {pixel(width)} {pixel(height)}"'
    return (
        f'<svg {box} role="img" style="max-width:{pixel(widest)}px">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def text_at(x: float, y: float, text: str, css_class: str = "label", anchor: str = "start") -> str:
    """Returns a text element."""
    place = f'x="{pixel(x)}" y="{pixel(y)}" text-anchor="{anchor}"'
    return f'<text class="{css_class}" {place}>{escape(text)}</text>' if text else ""


def marker(kind: str, x: float, y: float) -> str:
    """Returns one filled marker."""
    if kind == "square":
        place = f'x="{pixel(x - 2.8)}" y="{pixel(y - 2.8)}"'
        return f'<rect class="mark" {place} width="5.6" height="5.6"/>'
    return f'<circle class="mark" cx="{pixel(x)}" cy="{pixel(y)}" r="3"/>'


def frame(x: Scale, y: Scale, x_label: str, height: float) -> str:
    """Returns grid lines, tick texts and the label of the x axis."""
    parts = []
    for tick in nice_ticks(y.low, y.high, most=6, log=y.log):
        line = f"M{pixel(x.start)} {pixel(y(tick))}H{pixel(x.end)}"
        parts.append(f'<path class="grid" d="{line}"/>')
        parts.append(text_at(x.start - 6, y(tick) + 4, format_number(tick), "tick", "end"))
    for tick in nice_ticks(x.low, x.high, most=max(3, int((x.end - x.start) / 60)), log=x.log):
        mark = f"M{pixel(x(tick))} {pixel(y.start)}v4"
        parts.append(f'<path class="axis" d="{mark}"/>')
        anchor = "end" if x(tick) > x.end - 8 and len(format_number(tick)) > 3 else "middle"
        at = min(x(tick) + 12, x.end + 12) if anchor == "end" else x(tick)
        parts.append(text_at(at, y.start + 16, format_number(tick), "tick", anchor))
    parts.append(f'<path class="axis" d="M{pixel(x.start)} {pixel(y.start)}H{pixel(x.end)}"/>')
    parts.append(text_at((x.start + x.end) / 2, height - 5, x_label, "label", "middle"))
    return "".join(parts)


def escape(text: object) -> str:
    """Returns text that is safe in HTML and SVG, in attributes too; unprintable signs become �."""
    printable = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(text))
    return html.escape(printable, quote=True)


def pixel(value: float) -> str:
    """Returns a coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")

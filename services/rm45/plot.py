"""The two outages as one SVG: requests a second as the gateway counted them, a step for each second.

The colours are those of the project's pages, light and dark; the storm is told from the trickle by its filled area and
by its words, too, not by colour alone.
"""

from collections.abc import Mapping
from html import escape

from services.rm45.ledger import Sums

WIDTH, HEIGHT = 840, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 64, 56
TICKS_MAX = 6
TICK_STEPS = (1, 2, 5)

STYLE = """
.paper { fill: #FBFBF8 } .rule { stroke: #DDE0DA } .axis { stroke: #858E92 }
text { font: 13px "Segoe UI", -apple-system, Roboto, "Helvetica Neue", Arial, sans-serif; fill: #5F6A74 }
.title { font-size: 16px; font-weight: 600; fill: #17212B }
.storm { stroke: #AD1640; fill: none; stroke-width: 1.5 } .storm-area { fill: #F9E3E8 } .storm-word { fill: #AD1640 }
.trickle { stroke: #1D5B96; fill: none; stroke-width: 3 } .trickle-word { fill: #1D5B96 }
.well { stroke-dasharray: 4 4; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  .paper { fill: #151B20 } .rule { stroke: #252E35 } .axis { stroke: #66727B } text { fill: #8C979F }
  .title { fill: #E7EAE4 }
  .storm { stroke: #FF8AA1 } .storm-area { fill: #3A1720 } .storm-word { fill: #FF8AA1 }
  .trickle { stroke: #74B3EC } .trickle-word { fill: #74B3EC }
}
"""


class Scale:
    """Seconds and requests to pixels."""

    def __init__(self, first_s: int, last_s: int, most: int) -> None:
        self.first_s, self.last_s = first_s, last_s
        self.step = tick_step(most)
        self.top = self.step * max(1, -(-most // self.step))

    def x(self, second: float) -> float:
        """From the left."""
        across = (second - self.first_s) / (self.last_s - self.first_s)
        return round(LEFT + across * (WIDTH - LEFT - RIGHT), 1)

    def y(self, requests: float) -> float:
        """From the top."""
        return round(HEIGHT - BOTTOM - requests / self.top * (HEIGHT - TOP - BOTTOM), 1)


def tick_step(most: int) -> int:
    """1, 2 or 5 times a power of ten, so that there are few ticks."""
    power = 1
    while True:
        for step in TICK_STEPS:
            if most <= step * power * TICKS_MAX:
                return step * power
        power *= 10


def draw(storm: Sums, trickle: Sums) -> str:
    """The picture. Second 0 is when the gateway went down, in both runs."""
    seconds = {*storm.per_second, *trickle.per_second, 0}
    scale = Scale(min(seconds), max(seconds) + 1, max(storm.worst_second, trickle.worst_second, 1))
    line = steps(storm.per_second, scale)
    parts = [
        *axes(scale),
        f'<path class="storm-area" d="{line} Z"/>',
        f'<path class="storm" d="{line}"/>',
        f'<path class="trickle" d="{steps(trickle.per_second, scale)}"/>',
        *well_again(storm, scale, "storm", TOP - 8),
        *well_again(trickle, scale, "trickle", TOP + 10),
        *legend(storm, trickle),
    ]
    words = f"Requests a second at the gateway: {worst('without', storm)}; {worst('with', trickle)}."
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>'
    return "\n".join([head, f"<title>{escape(words)}</title>", f"<style>{STYLE}</style>", paper, *parts, "</svg>\n"])


def worst(preposition: str, sums: Sums) -> str:
    """One run in words."""
    return f"{preposition} a breaker {sums.worst_second_down} in the worst second of the outage, {sums.requests} in all"


def steps(per_second: Mapping[int, int], scale: Scale) -> str:
    """One step for each second from the first request to the last, those without a request too."""
    seconds = range(min(per_second, default=0), max(per_second, default=0) + 1)
    path = [f"V{scale.y(per_second.get(second, 0))} H{scale.x(second + 1)}" for second in seconds]
    return " ".join([f"M{scale.x(seconds[0])} {scale.y(0)}", *path, f"V{scale.y(0)}"])


def axes(scale: Scale) -> list[str]:
    """Rules, ticks, and what they count."""
    left, right, floor_y = LEFT, WIDTH - RIGHT, scale.y(0)
    parts = ['<text class="title" x="24" y="28">Requests a second, as the gateway counted them</text>']
    for requests in range(0, scale.top + 1, scale.step):
        y = scale.y(requests)
        parts.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{requests}</text>')
    step = tick_step(scale.last_s - scale.first_s)
    parts += [
        f'<text x="{scale.x(second)}" y="{floor_y + 20}" text-anchor="middle">{second}</text>'
        for second in range(-(-scale.first_s // step) * step, scale.last_s + 1, step)
    ]
    parts.append(f'<line class="axis" x1="{scale.x(0)}" x2="{scale.x(0)}" y1="{TOP}" y2="{floor_y}"/>')
    parts.append(f'<text x="{scale.x(0) - 5}" y="{TOP - 2}" text-anchor="end">slow</text>')
    parts.append(f'<text x="{scale.x(0) + 5}" y="{TOP - 2}">down</text>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 14}" text-anchor="end">seconds since it went down</text>')
    return parts


def well_again(sums: Sums, scale: Scale, name: str, word_y: int) -> list[str]:
    """When it was, if it was."""
    if sums.down_s is None or not sums.well_again:
        return []
    x = scale.x(sums.down_s)
    return [
        f'<line class="{name} well" x1="{x}" x2="{x}" y1="{word_y + 4}" y2="{scale.y(0)}"/>',
        f'<text class="{name}-word" x="{x + 5}" y="{word_y + 6}">well again after {sums.down_s:.1f} s</text>',
    ]


def legend(storm: Sums, trickle: Sums) -> list[str]:
    """Which line is which, below the picture."""
    y = HEIGHT - 14
    return [
        f'<line class="storm" x1="24" x2="48" y1="{y - 4}" y2="{y - 4}"/>',
        f'<text class="storm-word" x="54" y="{y}">no breaker: {storm.requests:,} requests</text>',
        f'<line class="trickle" x1="254" x2="278" y1="{y - 4}" y2="{y - 4}"/>',
        f'<text class="trickle-word" x="284" y="{y}">breaker: {trickle.requests:,} requests</text>',
    ]

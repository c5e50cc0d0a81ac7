"""docs/benchmarks.svg: what a job, a GiB or a file costs, as bars; the bare SDK loop is the line that nothing can pass."""

from html import escape

from .measure import cpu_per_gib, cpu_per_job, median

WIDTH, NAMES, MARGIN = 880, 272, 24
ROW, BAR = 24, 14
# A bar ends here at the latest; one that would be longer is cut, and says by how much.
LONGEST = WIDTH - NAMES - MARGIN - 150
# Beside the limit, bars up to so many times as long stay comparable.
MOST = 6.0

STYLE = """
svg{background:#fff}
text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}
.h{font-size:19px;font-weight:600}.t{font-size:14.5px;font-weight:600}.u{fill:#57606a;font-size:12.5px}
.n{text-anchor:end}.v{font-weight:600}.r{fill:#57606a}.halo{stroke:#fff;stroke-width:4px;paint-order:stroke}
.ours{fill:#0f7b5f}.bare{fill:#8c959f}.peer{fill:#d08a4e}.line{stroke:#57606a;stroke-width:1.25;stroke-dasharray:3 3}
.cut{stroke:#fff;stroke-width:2.5;fill:none}
@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.u,.r{fill:#8d96a0}.ours{fill:#2ea884}
.bare{fill:#6e7681}.peer{fill:#c07f46}.line{stroke:#8d96a0}.cut,.halo{stroke:#0d1117}}
"""

# Title in the figures, heading, unit, what is compared, and beside what.
PANELS = [
    ("4 KiB copies", "Copy 10,000 objects of 4 KiB", "CPU milliseconds per job", lambda run: 1000 * cpu_per_job(run), "bare SDK loop"),
    ("Large copies", "Copy 4 objects of 1 GiB", "CPU seconds per GiB", cpu_per_gib, "bare SDK loop"),
    ("1 MiB zstd:1", "Compress 2,000 objects of 1 MiB", "CPU seconds per GiB", cpu_per_gib, None),
    ("One huge object through cat", "One object of 4 GiB through a program", "CPU seconds per GiB", cpu_per_gib, None),
    ("Submit: many small files over TLS", "Upload and queue files of 4 KiB over TLS", "CPU milliseconds per file",
     lambda run: 1000 * cpu_per_job(run), "s5cmd cp"),
    ("Submit: some large files over TLS", "Upload and queue files of 64 MiB over TLS", "CPU seconds per GiB", cpu_per_gib, "s5cmd cp"),
]


def draw(figures):
    parts, y = [], MARGIN + 14
    parts.append(text(MARGIN, y, "h", "CPU cost beside other tools: shorter is better"))
    y += 22
    parts.append(text(MARGIN, y, "u", "Same machine, same server, same run, medians. The dashed line is the limit or the rival named beside it."))
    for title, heading, unit, value, limit in PANELS:
        if title in figures:
            y += 34
            panel, y = draw_panel(y, heading, unit, bars(figures[title]["runs"], value), limit)
            parts += panel
    height = y + MARGIN - 8
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
            f'aria-label="CPU cost of batchpipe beside other tools">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n")


def bars(runs, value):
    return [(name, median(each, value)) for name, each in runs.items()]


def draw_panel(y, heading, unit, values, limit):
    by_name = dict(values)
    base = by_name.get(limit) or min(by_name.values())
    full = min(max(by_name.values()), MOST * base)
    out = [text(MARGIN, y, "t", heading), text(WIDTH - MARGIN, y, "u n", unit)]
    top, labels = y + 8, []
    for name, value in values:
        y += ROW
        kind = "ours" if name.startswith("batchpipe") else "bare" if name.startswith("bare") else "peer"
        length, cut = max(2.0, LONGEST * min(value, full) / full), value > full * 1.001
        out.append(text(NAMES, y, "n" + (" v" if kind == "ours" else ""), name))
        out.append(f'<rect class="{kind}" x="{NAMES + 10}" y="{y - BAR + 3}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        if cut:
            x = NAMES + 10 + length - 22
            out.append(f'<path class="cut" d="M{x:.1f} {y + 5}l5 -{BAR + 4}M{x + 6:.1f} {y + 5}l5 -{BAR + 4}"/>')
        end = NAMES + 18 + length
        labels.append(f'<text class="halo" x="{end:.1f}" y="{y}"><tspan class="v">{figure(value)}</tspan>'
                   + (f'<tspan class="r" dx="6">{value / base:.1f} ×</tspan>' if limit and name != limit else "") + "</text>")
    if limit in by_name:
        x = NAMES + 10 + LONGEST * base / full
        out.append(f'<line class="line" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{y + 8}"/>')
    return out + labels, y + 8


def figure(value):
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def text(x, y, kind, words):
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'

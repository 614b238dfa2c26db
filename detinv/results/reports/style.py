"""The style sheet of report pages: light and dark, from a telephone's width to a desk's."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ensemble: #f7f7f8; --canvas: #f0f0f1; --ink: #18181b; --faint: #62626c; --rule: #e2e2e6;
  --accent: #0060a0;
  --line-0: #18181b; --line-1: #0072b2; --line-2: #d55e00; --line-3: #009e73; --line-4: #b0498a; --line-5: #8a6d00;
  --line-6: #3d9bd0; --line-7: #7a56c2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141416; --ensemble: #1d1d20; --canvas: #2a2a2e; --ink: #ececf0; --faint: #a0a0ab; --rule: #34343a;
    --accent: #6cb8ee;
    --line-0: #ececf0; --line-1: #4aa8e0; --line-2: #f08a4b; --line-3: #35c79d; --line-4: #e08cc0; --line-5: #d8b840;
    --line-6: #9fd3f5; --line-7: #b39af0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 12px; }
h3 { font-size: 14px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 12px; max-width: 76ch; }
.faint, figcaption { color: var(--faint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(138px, 1fr)); gap: 12px; margin: 24px 0 0; }
.tiles div { background: var(--ensemble); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 16px; }
.tiles dt { color: var(--faint); font-size: 13px; }
.tiles dd { margin: 2px 0 0; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles small { font-size: 14px; font-weight: 400; color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 24px 6px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: baseline; }
th { font-weight: 600; font-size: 13px; color: var(--faint); }
th.number, td.number { text-align: right; }
td.number { white-space: nowrap; }
td.text { text-align: right; overflow-wrap: anywhere; max-width: 24ch; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px; }
.stroke { display: inline-block; width: 18px; height: 3px; border-radius: 2px; margin-right: 8px; vertical-align: 4px; }
.losses { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 28px; align-items: start; }
.losses td, .losses th { padding-right: 14px; }
.chart { width: 100%; height: auto; display: block; font-size: 12px; }
.chart text { fill: var(--faint); }
.chart .rule { stroke: var(--rule); }
.chart .axis { stroke: var(--faint); }
.chart polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.layout { border-top: 1px solid var(--rule); padding: 14px 0 18px; }
.layout header { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; margin-bottom: 10px; }
.cells { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 16px; }
.cells figure { margin: 0; }
.cells svg { display: block; width: 100%; height: auto; max-height: 480px; border-radius: 4px; }
.cells text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.cells image { image-rendering: pixelated; }
.cells .canvas { fill: var(--canvas); }
.cells .mask { shape-rendering: crispEdges; }
.cells .casing, .cells .box { vector-effect: non-scaling-stroke; }
.cells .casing { fill: none; stroke: #000; stroke-opacity: 0.45; stroke-width: 3.5px; }
.cells .box { stroke-width: 2px; }
figcaption { font-size: 13px; margin-top: 6px; }
details { border: 1px solid var(--rule); border-radius: 10px; padding: 10px 16px; margin-bottom: 12px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; margin: 12px 0 4px; }
.finding { max-width: 100%; height: auto; border-radius: 4px; }
.good { color: var(--line-3); }
.poor { color: var(--line-2); }
@media (max-width: 820px) {
  .cells { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .losses { grid-template-columns: minmax(0, 1fr); }
}
@media (max-width: 420px) {
  main { padding: 24px 14px 48px; }
  .cells { grid-template-columns: minmax(0, 1fr); }
}
@media print {
  .layout, .tiles, .losses { break-inside: avoid; }
}
"""

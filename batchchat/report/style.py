"""The page's style sheet: light and dark by the reader's own setting, and fit for paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5b6673; --paper: #ffffff; --line: #d9dee5; --soft: #f4f6f8;
  --bar: #2f6fd0; --good: #1a7f45; --bad: #b3261e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa5b1; --paper: #14171a; --line: #333a42;
  --soft: #1d2126; --bar: #6aa5ff; --good: #63c98c; --bad: #ff8f86; --warn: #e0b050; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
.warn { color: var(--warn); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.tile { background: var(--soft); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile small { font-size: .9rem; font-weight: 400; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line); } th { font-weight: 600; color: var(--dim); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.t > div { max-height: 20rem; overflow-y: auto; }
td.t { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 8rem; }
pre { background: var(--soft); border-radius: .5rem; padding: .7rem .9rem; margin: .3rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, monospace; }
svg { width: 100%; min-width: 30rem; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
.bar { fill: var(--bar); } .grid { stroke: var(--line); } .axis { stroke: var(--dim); }
.break { stroke: var(--dim); stroke-dasharray: 3 3; }
@media print { body { max-width: none; padding: 0; } td.t > div { max-height: none; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } }
""".strip()

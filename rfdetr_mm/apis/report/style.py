"""The style sheet of a report's page: light, dark and on paper."""

STYLE = """
:root{--back:#fff;--card:#f6f7f9;--text:#1c2127;--weak:#5c6670;--grid:#d9dde2;
--s0:#1f6feb;--s1:#d9730d;--s2:#1a8754;--right:#1a8754;--wrong:#d1373f}
@media (prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2126;
--text:#e6e9ec;--weak:#98a2ad;--grid:#343b43;--s0:#6aa5ff;--s1:#f2a154;
--s2:#57c98d;--right:#57c98d;--wrong:#ff7b7b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);
font:15px/1.5 system-ui,sans-serif}
main{max-width:1060px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:24px;margin:0 0 12px}
h2{font-size:17px;margin:0 0 8px}
h2.kind{font-size:21px;margin:36px 0 12px;border-bottom:2px solid var(--grid)}
section{background:var(--card);border-radius:10px;padding:16px;margin:14px 0}
.lead,.small{color:var(--weak)}
.small{font-size:13px;margin:8px 0 0;max-width:70ch}
p.note{border-left:4px solid var(--s1);padding:2px 10px;margin:8px 0}
.tiles{display:grid;gap:10px;
grid-template-columns:repeat(auto-fit,minmax(118px,1fr))}
.tiles div{background:var(--card);border-radius:10px;padding:10px 12px}
.tiles b{display:block;font-size:21px;font-weight:600}
.tiles span{font-size:12px;color:var(--weak)}
s{text-decoration:none;color:var(--weak);font-weight:400}
.pair,.trio{display:grid;gap:0 14px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.trio{grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr))}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{padding:4px 8px;text-align:right;border-bottom:1px solid var(--grid);
font-variant-numeric:tabular-nums;white-space:nowrap}
th[scope=row],th.text,td.text{text-align:left}
td.text{white-space:normal;color:var(--weak)}
thead th{color:var(--weak);font-weight:600}
.wide tbody tr:first-child>*{font-weight:600}
tbody th{font-weight:400}
svg{max-width:100%;height:auto;display:block}
svg text{fill:var(--weak);font:11.5px system-ui,sans-serif}
svg .note{fill:var(--text)}
svg .tick{font-size:10px}
.grid{stroke:var(--grid);fill:none}
.mark{stroke:var(--weak);stroke-dasharray:4 3}
.line{fill:none;stroke-width:2}
.line.other{stroke-dasharray:5 4}
.line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}
.dot.s0,.bar.s0{fill:var(--s0)}.dot.s1,.bar.s1{fill:var(--s1)}
.dot.s2,.bar.s2{fill:var(--s2)}
.cell{stroke:var(--grid)}
.cell.right{fill:var(--right)}.cell.wrong{fill:var(--wrong)}
svg .cell+text,svg .cell~text{fill:var(--text)}
.legend{font-size:12.5px;color:var(--weak);display:flex;flex-wrap:wrap;
gap:2px 14px;padding-left:48px}
.key{display:inline-block;width:16px;height:0;border-top:3px solid;
vertical-align:middle;margin-right:5px}
.key.s0{border-color:var(--s0)}.key.s1{border-color:var(--s1)}
.key.s2{border-color:var(--s2)}.key.other{border-top-style:dashed}
.gallery{display:grid;gap:12px;margin-top:10px;
grid-template-columns:repeat(auto-fill,minmax(150px,1fr))}
figure{margin:0;font-size:12px;color:var(--weak);overflow-wrap:anywhere}
figure img,.blank{width:100%;aspect-ratio:1;border-radius:6px;display:block}
.blank{display:grid;place-content:center;background:var(--grid)}
figcaption b{color:var(--text)}
footer{color:var(--weak);font-size:13px;margin-top:24px}
@media print{:root{--back:#fff;--card:#fff;--text:#000;--weak:#444;
--grid:#ccc;--s0:#1f6feb;--s1:#d9730d;--s2:#1a8754}
main{max-width:none;padding:0}
section,figure,.tiles div{break-inside:avoid;border:1px solid #ddd}
h2{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

"""The look of a report's page: CSS, light and dark, for screens and for paper."""

PAGE = """
:root{--page:#fff;--soft:#f5f7f9;--ink:#1b1f24;--muted:#57606a;--edge:#dde2e7;--link:#0060a0;
--error:#b3261e;--warning:#8a5300;--info:#0060a0;--good:#0a6b45;--code:#f1f4f7}
@media(prefers-color-scheme:dark){:root{--page:#15191f;--soft:#1c2129;--ink:#e6e9ed;
--muted:#a0a9b4;--edge:#323a44;--link:#6cb8f0;--error:#ff8a80;--warning:#f0b429;--info:#6cb8f0;
--good:#4cd19a;--code:#0f1317}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;
overflow-wrap:anywhere}
main{max-width:920px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.6rem;line-height:1.3;margin:.15em 0 .7em;text-wrap:balance}
h2{font-size:1.2rem;line-height:1.4;margin:1.9em 0 .6em}
h3{font-size:.8rem;letter-spacing:.05em;text-transform:uppercase;color:var(--muted);
margin:1.7em 0 .5em}
p{margin:.4em 0}a{color:var(--link)}
code.muted{white-space:nowrap}
.muted,small{color:var(--muted)}
.banner{border-left:6px solid var(--k);padding:4px 0 4px 20px;margin-bottom:28px}
.over{margin:0;color:var(--muted);font-size:.85rem;letter-spacing:.05em;text-transform:uppercase}
.error{--k:var(--error)}.warning{--k:var(--warning)}.info{--k:var(--info)}.good{--k:var(--good)}
dl{margin:0}dd{margin:0}
.tiles{display:flex;flex-wrap:wrap;gap:14px 40px}
.tiles dt{color:var(--muted);font-size:.85rem}
.tiles dd{font-size:1.3rem;font-weight:600;font-variant-numeric:tabular-nums}
.tiles small{display:block;font-size:.8rem;font-weight:400}
.card{border:1px solid var(--edge);border-top:4px solid var(--k);border-radius:6px;
padding:16px 22px 20px;margin:22px 0;background:var(--page)}
.card h2{margin:.4em 0 .7em;text-wrap:pretty}
.meta{font-size:.9rem;color:var(--muted)}.meta b{color:var(--ink)}
.chip{color:var(--k);font-weight:600;white-space:nowrap}
.chip i{display:inline-block;width:1.35em;height:1.35em;line-height:1.35em;text-align:center;
border-radius:50%;background:var(--k);color:var(--page);font-style:normal;font-weight:700;
font-size:.8em;margin-right:.5em}
.follows{border-left:3px solid var(--edge);padding-left:12px;color:var(--muted)}
.remedy{background:var(--soft);border-radius:6px;padding:14px 18px;margin:14px 0}
.remedy h3{margin-top:0}
.effect{display:flex;flex-wrap:wrap;align-items:center;gap:4px 22px;
font-variant-numeric:tabular-nums}
.bell{width:320px;max-width:100%}
.bell text{fill:var(--muted);font-size:11px;text-anchor:middle}
.bell .rail{stroke:var(--muted);opacity:.5;fill:none}
.bell .band{stroke:var(--good);stroke-width:12;opacity:.25}
.bell .move{stroke:var(--good);stroke-width:2}
.bell .from{fill:var(--page);stroke:var(--muted);stroke-width:2}.bell .to{fill:var(--good)}
pre{background:var(--code);border:1px solid var(--edge);border-radius:5px;padding:12px 14px;
margin:12px 0 2px;overflow-x:auto;font-size:.86rem;line-height:1.5;overflow-wrap:normal}
code{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.92em}
pre code{font-size:inherit}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:6px 14px 6px 0;
border-bottom:1px solid var(--edge);max-width:30em;overflow-wrap:break-word}
thead th{color:var(--muted);font-weight:500;font-size:.83rem;white-space:nowrap}
tbody th{font-weight:500}
th.num,td.num{text-align:right}
.span{white-space:nowrap}
.scroll .num{padding-left:10px}
nav table td:nth-child(2){white-space:nowrap}
figure{margin:22px 0}figcaption{color:var(--muted)}
details{margin-top:8px}
summary{cursor:pointer;color:var(--link);font-size:.9rem}
.data{max-height:340px;overflow:auto;margin-top:6px}
.data table{font-size:.82rem}
.data th,.data td{white-space:nowrap;text-align:right;padding:3px 14px 3px 0}
.data th:first-child{text-align:left}
.data thead th{position:sticky;top:0;background:var(--page)}
.about{border-left:3px solid var(--edge);padding-left:18px;font-size:.94rem}
.about h1{font-size:1.1rem;margin:.8em 0 .4em}
.about h2{font-size:1rem;margin:1.2em 0 .3em}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:8px 24px;
font-size:.9rem}
.pairs dt{color:var(--muted);font-size:.83rem}
.costs{max-width:640px}.costs .wide{width:45%;vertical-align:middle}
.bar{display:block;height:10px;min-width:1px;background:var(--info);border-radius:2px}
footer{margin-top:48px;padding-top:14px;border-top:1px solid var(--edge);color:var(--muted);
font-size:.85rem}
@media(max-width:640px){main{padding:18px 14px 40px}h1{font-size:1.35rem}
.card{padding:12px 14px 16px}.fig{min-width:600px}}
@media print{.card{break-inside:avoid-page}body{font-size:11pt}}
"""

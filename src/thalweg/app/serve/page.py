"""The form page of a server: one file without outside requests, made from its OpenAPI document."""

from __future__ import annotations

from typing import Final

__all__ = ["PAGE", "POLICY"]

# The page may ask its own server and nobody else; its script and style stand in it.
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #5a6575; --paper: #f7f8fa;
  --card: #fff; --line: #d9dee6; --accent: #0b6bcb; --fill: #cfe3f8; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b6; --paper: #12161c;
  --card: #1a2028; --line: #303a47; --accent: #6db3f8; --fill: #21456b; --bad: #ff8a80 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 0 0 .8rem }
p { margin: .2rem 0 1rem; color: var(--soft) }
a { color: var(--accent) }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1rem }
@media (max-width: 46rem) { .two { grid-template-columns: minmax(0, 1fr) } }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem; margin-bottom: 1rem; min-width: 0 }
.fields { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .8rem }
label { display: block; font-size: .9rem; overflow-wrap: anywhere }
label small { color: var(--soft) }
input, textarea, button { font: inherit; color: inherit }
input, textarea { width: 100%; margin-top: .2rem; padding: .45rem .6rem; border-radius: .35rem;
  background: var(--paper); border: 1px solid var(--line) }
textarea { min-height: 9rem; resize: vertical }
button { padding: .5rem 1.1rem; border-radius: .35rem; border: 1px solid var(--accent);
  background: none; color: var(--accent); cursor: pointer; margin: 1rem .5rem 0 0 }
button.main { background: var(--accent); color: var(--card) }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
canvas + button { margin: .6rem 0 .8rem; display: block }
canvas { width: 100%; max-width: 17.5rem; aspect-ratio: 1; display: block; background: #fff;
  border: 1px solid var(--line); border-radius: .35rem; touch-action: none; cursor: crosshair }
.best { font-size: 1.8rem; font-weight: 600; overflow-wrap: anywhere }
.bar { display: grid; grid-template-columns: minmax(3rem, 9rem) 1fr 4.2rem; gap: .6rem;
  align-items: center; font-size: .9rem; margin: .25rem 0 }
.bar span:first-child { overflow-wrap: anywhere }
.bar span:last-child { text-align: right; font-variant-numeric: tabular-nums }
.bar i { height: .8rem; border-radius: .2rem; background: var(--fill); display: block;
  border-left: 2px solid var(--accent) }
.bad { color: var(--bad) }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem }
"""

_BODY: Final = """
<main>
<h1 id="title">Predict</h1>
<p id="about">Fill in a sample and see what the network makes of it.
 <a href="openapi.json">OpenAPI document</a> · <a href="metrics">metrics</a></p>
<section id="key" hidden><label>Token
 <input id="token" type="password" autocomplete="off"></label>
 <button id="enter" type="button">Use this token</button></section>
<div class="two">
<section aria-labelledby="in"><h2 id="in">Sample</h2><form id="form"><div id="fields"></div>
 <button class="main" type="submit">Predict</button></form></section>
<section aria-labelledby="out"><h2 id="out">Prediction</h2>
 <div id="answer" aria-live="polite"><p>Nothing asked yet.</p></div></section>
</div>
<section><h2>The same by command</h2><pre id="command"></pre></section>
<noscript><p class="bad">This form needs JavaScript; POST /predict does not.</p></noscript>
</main>
"""

_SCRIPT: Final = """
const at = id => document.getElementById(id);
const make = (tag, text, name) => { const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text; if (name) e.className = name; return e; };
let read = () => null, token = '';
const headers = more => token ? {...more, Authorization: 'Bearer ' + token} : more;
const number = v => Number(v.toPrecision(6)).toString();

function show(...parts) { at('answer').replaceChildren(...parts); }
function fail(text) { show(make('p', text, 'bad')); }

function row(made) {
  if (!('prediction' in made))
    return make('div', Object.values(made).map(v => typeof v === 'number' ? number(v) : v)
      .join(' · '));
  const box = make('div'), value = made.prediction;
  if (value !== null && typeof value === 'object')
    for (const [name, v] of Object.entries(value))
      box.append(make('div', name + ': ' + (v === null ? 'none' : number(v))));
  else if (String(value).length > 60) box.append(make('pre', value));
  else box.append(make('div', typeof value === 'number' ? number(value) : String(value), 'best'));
  for (const [name, share] of Object.entries(made.probabilities || {})
       .sort((a, b) => b[1] - a[1]).slice(0, 12)) {
    const bar = make('div', undefined, 'bar'), line = make('i');
    line.style.width = (100 * share) + '%';
    bar.append(make('span', name), line, make('span', (100 * share).toFixed(1) + ' %'));
    box.append(bar);
  }
  return box;
}

async function ask(event) {
  event.preventDefault();
  const [kind, body] = await read();
  if (body === null) return fail('Choose a file first.');
  const began = performance.now();
  try {
    const got = await fetch('predict', {method: 'POST', headers: headers({'Content-Type': kind}),
      body});
    const told = await got.json();
    if (!got.ok) return fail(told.error || got.statusText);
    show(...told.predictions.map(row), ...(told.notes || []).map(n => make('p', n)),
      make('p', (performance.now() - began).toFixed(1) + ' ms from here and back'));
  } catch (error) { fail('The server did not answer: ' + error.message); }
}

function command(kind, data) {
  const key = token ? " -H 'Authorization: Bearer TOKEN'" : '';
  at('command').textContent = 'curl ' + location.origin + '/predict' + key +
    " -H 'Content-Type: " + kind + "' " + data;
}

function rows(sample, example, key) {
  const grid = make('div', undefined, 'fields'), inputs = [];
  for (const name of sample.required) {
    const type = sample.properties[name], label = make('label', name);
    const input = make('input'), kinds = [].concat(type.type || []);
    const numeric = kinds.includes('number') && !kinds.includes('string');
    if (numeric) { input.type = 'number'; input.step = 'any'; }
    input.value = example[name];
    if (type.examples) {
      const list = make('datalist'); list.id = 'list' + inputs.length;
      for (const word of type.examples) { const o = make('option'); o.value = word;
        list.append(o); }
      input.setAttribute('list', list.id); label.append(list);
    } else if (!numeric && type.description) label.append(' ', make('small', type.description));
    label.append(input); grid.append(label);
    inputs.push(() => [name, input.value === '' ? null
      : numeric ? Number(input.value) : input.value]);
  }
  at('fields').append(make('p', 'Leave empty what is not known.'), grid);
  read = async () => ['application/json',
    JSON.stringify({[key]: Object.fromEntries(inputs.map(f => f()))})];
}

function steps(example) {
  const label = make('label', 'The last steps, as JSON'), area = make('textarea');
  area.value = JSON.stringify(example).replaceAll('},{', '},\\n {');
  label.append(area); at('fields').append(label);
  read = async () => ['application/json', area.value];
}

function text(example, key) {
  const label = make('label', 'Text'), area = make('textarea');
  area.value = example; label.append(area); at('fields').append(label);
  read = async () => ['application/json', JSON.stringify({[key]: area.value})];
}

function prompt(sample, example, key) {
  text(example.text, key);
  const grid = make('div', undefined, 'fields'), words = read, inputs = [];
  for (const [name, type] of Object.entries(sample.oneOf[1].properties)) {
    if (name === 'text') continue;
    const label = make('label', name + ' '), input = make('input');
    label.append(make('small', type.description), input); input.type = 'number';
    input.step = 'any'; input.value = type.default === undefined ? '' : type.default;
    grid.append(label); inputs.push([name, input]);
  }
  at('fields').append(grid);
  read = async () => ['application/json', JSON.stringify({[key]: {
    text: JSON.parse((await words())[1])[key], ...Object.fromEntries(
      inputs.filter(([, i]) => i.value !== '').map(([n, i]) => [n, Number(i.value)]))}})];
}

function file(kinds, drawn) {
  const label = make('label', 'File'), input = make('input');
  input.type = 'file'; input.accept = kinds.join(',');
  label.append(input);
  if (drawn) pad(label); else at('fields').append(label);
  const plain = read;
  read = async () => { const f = input.files[0];
    if (f) return [kinds.includes(f.type) ? f.type : kinds[0], f];
    return drawn ? plain() : [kinds[0], null]; };
  command(kinds[0], '--data-binary @FILE');
}

function pad(label) {
  const sheet = make('canvas'), wipe = make('button', 'Clear');
  sheet.width = sheet.height = 280; sheet.setAttribute('aria-label', 'Draw a digit here');
  const pen = sheet.getContext('2d');
  const clear = () => { pen.fillStyle = '#fff'; pen.fillRect(0, 0, 280, 280); };
  clear(); pen.lineWidth = 22; pen.lineCap = pen.lineJoin = 'round';
  const place = e => [e.offsetX * 280 / sheet.clientWidth, e.offsetY * 280 / sheet.clientHeight];
  sheet.onpointerdown = e => { sheet.setPointerCapture(e.pointerId); pen.beginPath();
    pen.moveTo(...place(e)); pen.lineTo(...place(e)); pen.stroke(); };
  sheet.onpointermove = e => { if (e.buttons) { pen.lineTo(...place(e)); pen.stroke(); } };
  wipe.type = 'button'; wipe.onclick = clear;
  at('fields').append(make('p', 'Draw a digit, or choose a picture of one.'), sheet, wipe, label);
  read = async () => ['image/png', await new Promise(done => sheet.toBlob(done, 'image/png'))];
}

async function begin() {
  const got = await fetch('openapi.json', {headers: headers({})});
  at('key').hidden = got.status !== 401;
  if (got.status === 401) return;
  const told = await got.json(), parts = told.components.schemas;
  at('title').textContent = document.title = told.info.title;
  const content = told.paths['/predict'].post.requestBody.content;
  const examples = content['application/json'].examples;
  const example = (examples.one || examples.several).value;
  const [key] = Object.keys(example), sample = parts.Sample;
  at('fields').replaceChildren();
  command('application/json', "-d '" + JSON.stringify(example).replaceAll("'", "'\\\\''")
    .slice(0, 2000) + "'");
  if (key === 'row') rows(sample, example[key], key);
  else if (key === 'rows') steps(example);
  else if (key === 'text') text(example[key], key);
  else if (key === 'prompt') prompt(sample, example[key], key);
  else file(Object.keys(content).filter(k => k.includes('/') && !k.startsWith('application')
    && !k.startsWith('multipart')), JSON.stringify(sample).includes('paper'));
  if (key === 'row' || key === 'text') at('form').requestSubmit();
}

at('form').addEventListener('submit', ask);
at('enter').onclick = () => { token = at('token').value.trim(); begin(); };
begin().catch(error => fail(error.message));
"""

PAGE: Final = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>Predict</title><link rel=\"icon\" href=\"data:,\"><style>{_STYLE}</style></head>"
    f"<body>{_BODY}<script>{_SCRIPT}</script></body></html>\n"
).encode()

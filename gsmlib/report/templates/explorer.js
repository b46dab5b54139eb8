"use strict";
// Looks up and shows what gsmlib/report/explorer.py has estimated; computes no statistics.

const FEW = {score: 20, logprob: 20, answer: 3};  // listed before one asks for more
const state = {};
const byId = (id) => document.getElementById(id);
let data;

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(plain).text());
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function option(value, text, disabled = false) {
  return make("option", {value, textContent: text, disabled});
}

const percent = (value) => `${value.toFixed(1)} %`;
const nearest = (numbers, wanted) => numbers.reduce((best, number) =>
  Math.abs(number - wanted) < Math.abs(best - wanted) ? number : best);

// ------------------------------------------------------------------- what is chosen

const run = (problem = state.problem) => {
  return data.problems[problem].runs[data.about.seeds.indexOf(state.seed)];
};
const isOfKind = (problem) => state.kind === "" || run(problem).kind === +state.kind;
const hasSteps = (problem) => state.steps === "" ||
  data.problems[problem].steps === +state.steps;
const numbers = () => [...data.problems.keys()];
const matching = () => numbers().filter((each) => isOfKind(each) && hasSteps(each));
const ns = () => data.curves.find((curve) => curve.n === null).points;
const ks = () => data.curves.find((curve) => curve.n === state.n).points;

function curveOf(label) {
  const fits = (curve) => curve.label === label && (curve.n ?? state.n) === state.n;
  const curve = data.curves.find(fits);
  const place = curve.points.indexOf(curve.n === null ? state.n : state.k);
  const chance = run().wins[data.curves.indexOf(curve)][place] / 10;
  const name = curve.n === null ? label : label.replace("top k", `top ${state.k}`);
  return {label, name, chance, limits: curve.limits[place]};
}

// Brings the state within what there is; a problem wins over filters that leave it out.
function settle() {
  const {seeds} = data.about;
  if (!seeds.includes(state.seed)) state.seed = seeds[0];
  if (!data.problems[state.problem]) state.problem = 0;
  if (!data.kinds[state.kind]) state.kind = "";
  if (!["score", "answer", "logprob"].includes(state.order)) state.order = "score";
  state.n = nearest(ns(), state.n);
  state.k = nearest(ks(), state.k);
  if (!matching().includes(state.problem)) state.kind = state.steps = "";
}

const usual = () => ({problem: 0, n: data.about.drawn, k: 10, seed: data.about.seeds[0],
  kind: "", steps: "", order: "score", colours: ""});

function readAddress() {
  Object.assign(state, usual());
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of given) {
    if (!(name in state)) continue;
    const wanted = typeof state[name] === "number" ? Number(value) : value;
    if (!Number.isNaN(wanted)) state[name] = wanted;
  }
}

function writeAddress() {
  const {problem, n, k, ...rest} = state;
  if (rest.seed === data.about.seeds[0]) delete rest.seed;
  if (rest.order === "score") delete rest.order;
  const set = Object.entries(rest).filter(([, value]) => value !== "");
  const wanted = new URLSearchParams([...Object.entries({problem, n, k}), ...set]);
  history.replaceState(null, "", `#${wanted}`);
}

// ------------------------------------------------------------------------ the choice

function showChooser() {
  const all = numbers(), ofKind = all.filter(isOfKind), withSteps = all.filter(hasSteps);
  const kinds = data.kinds.map((kind, place) => {
    const count = withSteps.filter((each) => run(each).kind === place).length;
    return option(place, `${kind} (${count})`, !count);
  });
  byId("kind").replaceChildren(option("", `any (${withSteps.length})`), ...kinds);
  const lengths = new Set(data.problems.map((each) => each.steps));
  const steps = [...lengths].sort((a, b) => a - b).map((length) => {
    const count = ofKind.filter((each) => data.problems[each].steps === length).length;
    return option(length, `${length} (${count})`, !count);
  });
  byId("steps").replaceChildren(option("", `any (${ofKind.length})`), ...steps);
  byId("seed").replaceChildren(...data.about.seeds.map((seed) => option(seed, seed)));
  const listed = matching().map((each) =>
    option(each, `${each}: ${data.problems[each].question.slice(0, 80)}`));
  byId("problem").replaceChildren(...listed);
  for (const name of ["kind", "steps", "seed", "problem"]) byId(name).value = state[name];
}

function showProblem() {
  const problem = data.problems[state.problem], {greedy} = run();
  document.title = `Problem ${state.problem}, ${byId("explorer").dataset.title}`;
  byId("heading").textContent = `Problem ${state.problem}`;
  byId("heading").append(" ", make("small", {
    textContent: `${problem.steps} steps; ${data.kinds[run().kind]}`}));
  byId("question").textContent = problem.question;
  byId("solution").textContent = problem.solution;
  byId("finetuned").hidden = !greedy;
  if (!greedy) return;
  const [summary, text] = byId("finetuned").children;
  summary.replaceChildren("Finetuning alone, its greedy solution: ",
    mark(greedy[1], greedy[1] ? "right" : "wrong"));
  text.textContent = greedy[0];
}

// ---------------------------------------------------------------------- the methods

function mark(isRight, text) {
  return make("span", {className: isRight ? "right" : "wrong",
    textContent: `${isRight ? "✓" : "✗"} ${text}`});
}

function answer(id) {
  const [text, isRight] = run().answers[id] ?? ["no answer", 0];
  return mark(isRight, text);
}

function chosen(label) {
  const ids = run().chosen[label];
  if (ids === undefined) {
    const some = run().answers.some(([, isRight]) => isRight);
    return mark(some, some ? "a right one is among them" : "none is right");
  }
  return answer(Array.isArray(ids) ? ids[data.voters.indexOf(state.k)] : ids);
}

function bar(low, high, mean) {
  const place = (className, left, width) => {
    const part = make("i", {className});
    part.style.left = `${left}%`;
    if (width !== undefined) part.style.width = `${width}%`;
    return part;
  };
  const parts = [place(mean === undefined ? "" : "limits", low, high - low)];
  if (mean !== undefined) parts.push(place("mean", mean));
  const drawn = make("span", {className: "bar"}, ...parts);
  drawn.setAttribute("aria-hidden", "true");
  return drawn;
}

function methodRow(method, best) {  // best: is no other choice more often right
  const [mean, low, high] = method.limits;
  const name = make("th", {scope: "row"}, method.name, make("small", {}, chosen(method.label)));
  const here = make("td", {className: best ? "best" : ""},
    percent(method.chance), bar(0, method.chance));
  const interval = make("small", {textContent: `${low.toFixed(1)} to ${high.toFixed(1)}`});
  const row = make("tr", {}, name, here,
    make("td", {}, percent(mean), bar(low, high, mean), interval));
  row.dataset.method = method.label;
  return row;
}

function showMethods() {
  const methods = data.labels.map(curveOf), ceiling = data.labels.at(-1);
  const choices = methods.filter((method) => method.label !== ceiling);
  const best = Math.max(...choices.map((method) => method.chance));
  const winners = choices.filter((method) => method.chance === best);
  const names = winners.length === choices.length ? "all alike" :
    winners.map((method) => method.name).join(", ");
  const seen = state.n === data.about.drawn ? `all ${state.n}` : `${state.n} random`;
  byId("winner").textContent = best === 0 ?
    `Of ${seen} completions, no choice here is ever right.` :
    `Best of ${seen} completions here: ${names} (${percent(best)}).`;
  const some = best > 0 && winners.length < choices.length;
  const rows = methods.map((each) => methodRow(each, some && winners.includes(each)));
  byId("methods").replaceChildren(...rows);
}

function showSliders() {
  for (const [name, points] of [["n", ns()], ["k", ks()]]) {
    const slider = byId(name), value = state[name];
    slider.max = points.length - 1;
    slider.value = points.indexOf(value);
    slider.setAttribute("aria-valuetext", `${value} ${name === "n" ? "completions" : "voters"}`);
    byId(`${name}-value`).textContent = value;
  }
}

// ------------------------------------------------------------------ the completions

function token(piece, level) {
  const [text, isForced] = data.pieces[piece];
  const isEnd = text === "";
  const part = make("span", {textContent: isEnd ? " [end]" : text});
  if (isEnd) part.className = "end";
  if (isForced) part.className = "forced";
  if (level === undefined) return part;
  part.dataset.level = level;
  part.title = `score ${level / 10} to ${(Number(level) + 1) / 10}`;
  return part;
}

function fill(completion, rank) {
  const {tokens, levels} = data.problems[state.problem];
  const scores = state.colours ? levels[rank] : undefined;
  const parts = tokens[rank].map((piece, place) => token(piece, scores?.[place]));
  completion.querySelector("pre")?.remove();
  completion.append(make("pre", {className: "text"}, ...parts));
}

function completion(rank, isOpen) {
  const {samples, ids, scores, logprobs, per_token: perToken} = run();
  const hasText = state.seed === data.about.seeds[0];
  const total = logprobs[rank].toFixed(2), each = perToken[rank].toFixed(3);
  const cells = [
    make("span", {textContent: rank + 1, title: "rank by score"}),
    answer(ids[rank]),
    make("span", {textContent: scores[rank].toFixed(3), title: "the verifier's score"}),
    make("span", {className: "soft", textContent: `log p ${total} (${each})`,
      title: `sample ${samples[rank]}; log-probability, and per token`}),
  ];
  if (!hasText) return make("div", {className: "completion"}, make("div", {}, ...cells));
  const item = make("details", {className: "completion"}, make("summary", {}, ...cells));
  item.dataset.rank = rank;
  item.addEventListener("toggle", () => item.open && fill(item, rank));
  item.open = isOpen;
  return item;
}

// Lists the first of some completions, and the others when one asks for them.
function list(ranks, openFirst) {
  const few = FEW[state.order], place = make("div", {});
  const shown = ranks.length > few + 1 ? ranks.slice(0, few) : ranks;
  place.append(...shown.map((rank, i) => completion(rank, openFirst && i === 0)));
  const others = ranks.slice(shown.length);
  if (!others.length) return place;
  const button = make("button", {type: "button", textContent: `the other ${others.length}`});
  button.addEventListener("click", () => {
    const added = others.map((rank) => completion(rank, false));
    button.replaceWith(...added);
    added[0].querySelector("summary")?.focus();
  });
  place.append(button);
  return place;
}

function byAnswer() {
  const {ids, scores} = run(), groups = new Map();
  ids.forEach((id, rank) => groups.set(id, [...(groups.get(id) ?? []), rank]));
  const ordered = [...groups].sort(([, a], [, b]) => b.length - a.length || a[0] - b[0]);
  return ordered.map(([id, ranks]) => {
    const sum = ranks.reduce((total, rank) => total + Math.max(scores[rank], 0), 0);
    const said = ` ${ranks.length} of ${ids.length}, best rank ${ranks[0] + 1}, ` +
      `scores add up to ${sum.toFixed(2)}`;
    const heading = make("h3", {}, answer(id), make("small", {textContent: said}));
    return make("div", {className: "group"}, heading, list(ranks, false));
  });
}

function showCompletions() {
  const {per_token: perToken} = run(), ranks = [...perToken.keys()];
  if (state.order === "logprob") ranks.sort((a, b) => perToken[b] - perToken[a]);
  const groups = state.order === "answer" ? byAnswer() : [list(ranks, true)];
  byId("completions").replaceChildren(...groups);
}

function showColours() {
  byId("colours").checked = state.colours !== "";
  byId("colours").disabled = state.seed !== data.about.seeds[0];  // it has no texts
  byId("scale").hidden = !state.colours;
  for (const item of document.querySelectorAll("details.completion[open]")) {
    fill(item, Number(item.dataset.rank));
  }
}

// ---------------------------------------------------------------------- all together

function showNumbers() {
  showSliders();
  showMethods();
  writeAddress();
}

function showAll() {
  settle();
  showChooser();
  showProblem();
  byId("order").value = state.order;
  showCompletions();
  showColours();
  showNumbers();
}

function step(by) {
  const listed = matching(), place = listed.indexOf(state.problem) + by;
  state.problem = listed[(place + listed.length) % listed.length];
  showAll();
}

// A filter that leaves the problem out goes to the first one that it leaves in.
function choose(name, value) {
  state[name] = value;
  const listed = matching();
  if (name !== "problem" && name !== "seed" && !listed.includes(state.problem)) {
    state.problem = listed[0];
  }
  showAll();
}

function listen() {
  for (const name of ["kind", "steps", "seed", "problem", "order"]) {
    byId(name).addEventListener("change", (event) => {
      const {value} = event.target;
      choose(name, typeof state[name] === "number" ? Number(value) : value);
    });
  }
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("n").addEventListener("input", (event) => {
    state.n = ns()[event.target.value];
    state.k = nearest(ks(), state.k);
    showNumbers();
  });
  byId("k").addEventListener("input", (event) => {
    state.k = ks()[event.target.value];
    showNumbers();
  });
  byId("colours").addEventListener("change", (event) => {
    state.colours = event.target.checked ? "1" : "";
    showColours();
    writeAddress();
  });
  addEventListener("keydown", (event) => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    const isPlain = !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);
    if (by && isPlain && !event.target.closest("[type=range], select")) step(by);
  });
  addEventListener("hashchange", () => {
    readAddress();
    showAll();
  });
}

async function start() {
  data = await unpack(byId("data").textContent);
  byId("explorer").dataset.title = document.title;
  readAddress();
  listen();
  showAll();
  byId("status").hidden = true;
  byId("explorer").hidden = false;
}

start().catch((error) => {
  byId("status").textContent = `This browser cannot show the page (${error}); a newer one can.`;
});

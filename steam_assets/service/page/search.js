// The search page: the question is in the address, the answer comes from /api/search. Texts are shown as text, never
// as markup: elements are made by `element` alone.

const FIELDS = ["q", "like", "in", "k", "type", "genre", "language", "from", "to", "price", "where", "hybrid", "exact"];
const FILTERS = ["type", "genre", "language", "from", "to", "price", "where"];
const EXAMPLES = [
  "cozy farming with friends",
  "scary hospital at night",
  "build railways and schedule trains",
  "a story about grief",
  "hard but fair boss fights",
  "宇宙船で貿易する",
];
const PLACES = { applications: "Games", reviews: "Reviews" };

const form = document.getElementById("question");
const answer = document.getElementById("answer");
const status = document.getElementById("status");
const details = document.getElementById("filters");
let served = [];
let underway = null;

/** An element with attributes and children; strings among them become text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The question that an address holds, without what is empty. */
function questionOf(address) {
  const found = {};
  for (const name of FIELDS) {
    const value = (address.searchParams.get(name) ?? "").trim();
    if (value) found[name] = value;
  }
  const meant = served.find((column) => [column.column, tableOf(column.column)].includes(found.in));
  if (meant) found.in = meant.column;
  return found;
}

function addressOf(question) {
  const parameters = new URLSearchParams();
  for (const name of FIELDS) if (question[name]) parameters.set(name, question[name]);
  const text = parameters.toString();
  return text ? `/?${text}` : "/";
}

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

/** The condition that the simple inputs and the written one come to. */
function conditionOf(question) {
  const parts = [];
  if (question.type) parts.push(`type = ${quoted(question.type)}`);
  if (question.genre) parts.push(`genre = ${quoted(question.genre)}`);
  if (question.language) parts.push(`language = ${quoted(question.language)}`);
  if (question.from) parts.push(`year >= ${question.from}`);
  if (question.to) parts.push(`year <= ${question.to}`);
  if (question.price) parts.push(`price <= ${question.price}`);
  if (question.where) parts.push(parts.length ? `(${question.where})` : question.where);
  return parts.join(" and ");
}

/** Put a question into the form. */
function fill(question) {
  for (const name of FIELDS) {
    const input = form.elements.namedItem(name);
    if (!input) continue;
    if (input.type === "checkbox") input.checked = question[name] === "true";
    else input.value = question[name] ?? "";
  }
  showFilters();
}

/** The question that the form holds. */
function read() {
  const found = {};
  for (const [name, value] of new FormData(form)) {
    if (FIELDS.includes(name) && String(value).trim()) found[name] = String(value).trim();
  }
  return found;
}

/** Show the filters that every chosen column has, and how many are set. */
function showFilters() {
  const chosen = served.filter((column) => !form.elements.in?.value || column.column === form.elements.in.value);
  const has = (name) => chosen.length > 0 && chosen.every((column) => column.fields.includes(name));
  for (const label of form.querySelectorAll("[data-filter]")) {
    label.hidden = !has(label.dataset.filter);
    for (const input of label.querySelectorAll("input, select")) input.disabled = label.hidden;
  }
  details.hidden = chosen.length > 0 && !chosen.some((column) => column.fields.length);
  const asked = read();
  const count = FILTERS.filter((name) => asked[name]).length;
  document.getElementById("filter-count").textContent = count ? `(${count})` : "";
}

/** Ask where to search when there is a choice. */
function showColumns() {
  const place = document.getElementById("columns");
  const choices = served.length > 1 ? [["", "Everywhere"], ...served.map((c) => [c.column, placeOf(c.column)])] : [];
  place.append(
    ...choices.map(([value, name]) =>
      element(
        "label",
        { title: value },
        element("input", { type: "radio", name: "in", value, checked: value === "" }),
        element("span", {}, name),
      ),
    ),
  );
}

const tableOf = (column) => column.slice(0, column.lastIndexOf("."));
/** Columns as people call them; two of one table keep their full names. */
function placeOf(column) {
  const table = tableOf(column);
  const alone = served.filter((other) => tableOf(other.column) === table).length < 2;
  return alone ? (PLACES[table] ?? table) : column;
}

async function ask(path, signal) {
  const response = await fetch(path, { signal, headers: { Accept: "application/json" } });
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(said.error ?? `The service answered with status ${response.status}.`);
  return said;
}

/** Search for what the address holds, and show the answer. */
async function search() {
  const question = questionOf(new URL(location.href));
  fill(question);
  underway?.abort();
  document.title = question.q ? `${question.q} - search by meaning` : "Search by meaning";
  if (!question.q && !question.like) {
    answer.removeAttribute("aria-busy");
    answer.replaceChildren(emptyState());
    return;
  }
  const parameters = new URLSearchParams();
  for (const name of ["q", "like", "in", "k", "hybrid", "exact"]) {
    if (question[name]) parameters.set(name, question[name]);
  }
  const where = conditionOf(question);
  if (where) parameters.set("where", where);
  const mine = (underway = new AbortController());
  answer.setAttribute("aria-busy", "true");
  try {
    const { results } = await ask(`/api/search?${parameters}`, mine.signal);
    if (mine !== underway) return;
    answer.replaceChildren(...results.map((result) => resultOf(result, question)));
    status.textContent = results.map((found) => `${found.hits.length} in ${placeOf(found.column)}`).join(", ");
  } catch (error) {
    if (mine !== underway) return; // another question has been asked meanwhile
    const said = error instanceof TypeError ? "The service does not answer. Is `steam-assets serve` running?" : error.message;
    answer.replaceChildren(element("p", { class: "error", role: "alert" }, said));
  } finally {
    if (mine === underway) answer.removeAttribute("aria-busy");
  }
}

function emptyState() {
  const examples = EXAMPLES.map((q) => element("li", {}, element("a", { href: addressOf({ q }) }, q)));
  const facts = served.map((column) => {
    const rows = column.embedded === null ? "" : `${column.embedded.toLocaleString("en")} rows, `;
    const how = column.index === null ? "every row compared" : `${column.index} index`;
    return element("div", {}, `${column.column}: ${rows}${column.model_name}, ${how}`);
  });
  return element(
    "section",
    { class: "empty" },
    element("p", {}, "Describe it in your own words, in any language the model knows."),
    element("ul", {}, ...examples),
    element("small", {}, ...facts),
  );
}

/** The hits of a column, those of one game on one card. */
function resultOf(result, question) {
  const about = [
    `${result.hits.length.toLocaleString("en")} ${result.hits.length === 1 ? "hit" : "hits"}`,
    `${Math.round(1000 * result.seconds)} ms`,
    result.how,
    `${result.model_name}, run ${result.run_id}`,
  ].join(" · ");
  const notices = [result.notice];
  if (result.left_out) {
    const rows = result.left_out.toLocaleString("en");
    notices.push(`${rows} rows have vectors of another run and were left out.`);
  }
  const subject = question.like ? `Like ${question.like}` : placeOf(result.column);
  const heading = element("h2", {}, subject, element("small", {}, about));
  const words = wordsOf(question.q ?? "");
  const cards = groupsOf(result.hits).map((hits) => cardOf(hits, result.column, question, words));
  return element(
    "section",
    {},
    heading,
    ...notices.filter(Boolean).map((notice) => element("p", { class: "notice" }, notice)),
    cards.length ? element("ol", {}, ...cards) : element("p", { class: "notice" }, "Nothing was found."),
  );
}

function groupsOf(hits) {
  const groups = new Map();
  for (const hit of hits) {
    const key = hit.group ? `group ${hit.group.id}` : `hit ${hit.id}`;
    groups.set(key, [...(groups.get(key) ?? []), hit]);
  }
  return [...groups.values()];
}

function cardOf(hits, column, question, words) {
  const [best] = hits;
  const name = best.group ? (best.group.name ?? best.group.id) : (best.title ?? best.id);
  const body = best.group
    ? hits.map((hit) => element("div", { class: "review" }, snippetOf(hit, words), linksOf(hit, column, question, true)))
    : [snippetOf(best, words), linksOf(best, column, question, false)];
  return element(
    "li",
    {},
    element(
      "article",
      { class: "card", tabindex: "0" },
      element("div", { class: "head" }, element("h3", {}, name), best.group ? null : scoreOf(best)),
      ...body,
    ),
  );
}

function scoreOf(hit) {
  const cosine = hit.cosine.toFixed(3);
  const meter = element("meter", { min: 0, max: 1, value: Math.max(0, hit.cosine), "aria-hidden": "true" });
  return element("span", { class: "score", title: "cosine similarity" }, meter, cosine);
}

const snippetOf = (hit, words) => element("p", { class: "snippet" }, ...highlighted(hit.text, words));

function linksOf(hit, column, question, withScore) {
  const { k, type, genre, language, from, to, price, where, exact } = question;
  const filters = { k, type, genre, language, from, to, price, where, exact };
  const like = element("a", { href: addressOf({ like: hit.id, in: column, ...filters }) }, "more like this");
  return element("div", { class: "links" }, withScore ? scoreOf(hit) : null, like, element("span", {}, hit.id));
}

/** The words of a question as one pattern; null where it has none. */
function wordsOf(text) {
  const words = text.match(/[\p{L}\p{N}]{2,}/gu) ?? [];
  if (!words.length) return null;
  const longestFirst = [...new Set(words)].sort((a, b) => b.length - a.length);
  return new RegExp(`(?<![\\p{L}\\p{N}])(${longestFirst.join("|")})`, "giu");
}

/** A text in pieces, with the words of the question marked. */
function highlighted(text, words) {
  if (!words) return [text];
  return text.split(words).map((piece, n) => (n % 2 ? element("mark", {}, piece) : piece));
}

function go(question) {
  history.pushState(null, "", addressOf(question));
  search();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(read());
});
form.addEventListener("change", (event) => {
  showFilters();
  if (event.target.id === "q") return; // Enter or the button asks
  const asked = questionOf(new URL(location.href));
  // An id is one of its own column.
  const like = read().q || event.target.name === "in" ? {} : { like: asked.like };
  if (asked.q || asked.like) go({ ...read(), ...like });
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/?'], a[href='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  search();
  scrollTo(0, 0);
});
document.addEventListener("keydown", (event) => {
  const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.id !== "q";
  if (event.key === "/" && event.target.id !== "q" && !inField) {
    event.preventDefault();
    form.elements.q.select();
    return;
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || inField) return;
  const cards = [...document.querySelectorAll(".card")];
  const next = cards.indexOf(document.activeElement.closest(".card")) + step;
  if (next >= cards.length || next < -1) return;
  event.preventDefault();
  if (next < 0) form.elements.q.focus();
  else cards[next].focus();
});
addEventListener("popstate", search);

try {
  served = (await ask("/api/columns")).columns;
} catch {
  // The search itself says what is wrong.
}
showColumns();
await search();

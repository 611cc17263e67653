// What a person does with the map: mouse, keys, search, legend. The drawing is map.js's.

function hover(event) {
  const found = event ? nearest(event.offsetX * ratio, event.offsetY * ratio) : -1;
  const box = $("hover");
  if (found !== hovered) {
    hovered = found;
    drawLabels();
  }
  box.hidden = found < 0;
  if (found < 0) return;
  const { id, name } = nameOf(found), lines = box.children;
  lines[0].textContent = name || id;
  lines[1].textContent = [`${map.id} ${id}`, ...map.sets[map.setOf[found]]].join(" · ");
  lines[2].textContent = map.ways[0].groups[map.groupOf[0][found]].name;
  const right = event.offsetX + 16 + box.offsetWidth > labels.clientWidth;
  box.style.left = `${right ? event.offsetX - 16 - box.offsetWidth : event.offsetX + 16}px`;
  box.style.top = `${Math.min(event.offsetY + 12, labels.clientHeight - box.offsetHeight - 8)}px`;
}

function listen() {
  const fingers = new Map();
  labels.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    labels.setPointerCapture(event.pointerId);
  });
  for (const over of ["pointerup", "pointercancel"]) {
    labels.addEventListener(over, (event) => fingers.delete(event.pointerId));
  }
  labels.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) {
      hover(event);
      return;
    }
    fingers.set(event.pointerId, event);
    if (fingers.size === 2) {
      const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
      const apart = (a) => Math.hypot(a.offsetX - other.offsetX, a.offsetY - other.offsetY) || 1;
      zoom(apart(event) / apart(before), other.offsetX * ratio, other.offsetY * ratio);
      return;
    }
    view.x += (event.offsetX - before.offsetX) * ratio;
    view.y += (event.offsetY - before.offsetY) * ratio;
    hover(null);
    redraw();
  });
  labels.addEventListener("pointerleave", () => hover(null));
  labels.addEventListener("dblclick", (event) => zoom(2, event.offsetX * ratio, event.offsetY * ratio));
  labels.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX * ratio, event.offsetY * ratio);
  }, { passive: false });
  labels.addEventListener("keydown", (event) => {
    const step = 60 * ratio;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") showAll();
    else if (moves[event.key]) {
      view.x += moves[event.key][0];
      view.y += moves[event.key][1];
      redraw();
    } else return;
    event.preventDefault();
  });
  $("search").addEventListener("input", search);
  window.addEventListener("resize", fit);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

let folded = null;

function search() {
  const wanted = $("search").value.trim().toLowerCase();
  folded ??= new TextDecoder().decode(map.lines).toLowerCase().split("\n").map((line) => line.replace("\t", " "));
  marked = [];
  if (wanted) for (let row = 0; row < map.rows; row++) if (folded[row].includes(wanted)) marked.push(row);
  $("found").textContent = wanted ? `${marked.length.toLocaleString("en")} found` : "";
  $("hits").replaceChildren(...marked.slice(0, HITS_SHOWN).map((row) => entry(nameOf(row).name, "", () => goTo(row))));
  redraw();
}

function entry(name, small, act) {
  const item = document.createElement("li"), button = document.createElement("button");
  const text = document.createElement("span"), note = document.createElement("small");
  button.type = "button";
  text.textContent = name;
  text.title = name;
  note.textContent = small;
  button.append(text, note);
  button.addEventListener("click", () => act(button));
  item.append(button);
  return item;
}

function showLegend() {
  $("legend").replaceChildren(...map.ways[way].groups.flatMap((group, number) => {
    if (!group.size) return [];
    const item = entry(group.name, group.size.toLocaleString("en"), (button) => {
      alone = alone === number ? -1 : number;
      for (const other of $("legend").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(alone === number));
      redraw();
    });
    const dot = document.createElement("i");
    dot.style.background = group.color;
    item.firstChild.prepend(dot);
    item.firstChild.setAttribute("aria-pressed", "false");
    return [item];
  }));
}

function showWays() {
  map.ways.forEach(({ noun }, number) => {
    const label = document.createElement("label"), choice = document.createElement("input");
    choice.type = "radio";
    choice.name = "way";
    choice.checked = number === way;
    choice.addEventListener("change", () => {
      way = number;
      alone = -1;
      showLegend();
      redraw();
    });
    label.append(choice, ` ${noun}`);
    $("colors").append(label);
  });
}

unpacked().then((buffer) => {
  map = read(buffer);
  way = map.ways.length - 1;
  showWays();
  showLegend();
  listen();
  fit();
  document.body.dataset.ready = "yes";
});

// A map of points on two canvases: `points` below, `labels` and the mouse above. html.py packs what is drawn.
"use strict";

const WORLD = 65535;
const CELLS = 256; // of the grid, along each side
const REACH_PX = 14; // how far from a point the mouse finds it
const FEW_POINTS = 6000; // so many are drawn as round discs, more as pixels: 250,000 discs take a second, pixels 10 ms
const HITS_SHOWN = 12;
const MARKED_AT_MOST = 3000;

const $ = (id) => document.getElementById(id);
const points = $("points"), labels = $("labels");
const below = points.getContext("2d"), above = labels.getContext("2d");
const view = { scale: 1, x: 0, y: 0, fitted: 1 }; // screen = world * scale + (x, y), in device pixels
let map, way = 0, alone = -1, hovered = -1, marked = [], image, pixels, waiting = false, ratio = 1;

async function unpacked() {
  const packed = Uint8Array.from(atob($("data").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function read(buffer) {
  const headerBytes = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerBytes)));
  const rows = header.rows;
  let at = 4 + headerBytes;
  const take = (kind, count) => {
    const found = new kind(buffer, at, count);
    at += found.byteLength;
    return found;
  };
  const places = take(Uint16Array, 2 * rows), sets = take(Uint16Array, rows);
  const groupOf = header.ways.map(() => take(Uint8Array, rows));
  const lines = new Uint8Array(buffer, at);
  const found = { places, setOf: sets, groupOf, lines, starts: startsOf(lines, rows), grid: gridOf(places, rows) };
  return { ...header, ...found, seen: new Uint32Array(rows) };
}

function startsOf(lines, rows) {
  const starts = new Uint32Array(rows + 1);
  for (let row = 1, at = 0; row <= rows; row++) starts[row] = at = lines.indexOf(10, at) + 1;
  return starts;
}

// Rows by cell: those of cell c are order[starts[c]] to order[starts[c + 1] - 1].
function gridOf(places, rows) {
  const cellOf = (row) => (places[2 * row + 1] >> 8) * CELLS + (places[2 * row] >> 8);
  const starts = new Uint32Array(CELLS * CELLS + 1), order = new Uint32Array(rows);
  for (let row = 0; row < rows; row++) starts[cellOf(row) + 1]++;
  for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
  const next = starts.slice();
  for (let row = 0; row < rows; row++) order[next[cellOf(row)]++] = row;
  return { starts, order };
}

// A line is an id, a tab and a name; it is decoded when somebody asks.
function nameOf(row) {
  const line = new TextDecoder().decode(map.lines.subarray(map.starts[row], map.starts[row + 1] - 1));
  const tab = line.indexOf("\t");
  return { id: line.slice(0, tab), name: line.slice(tab + 1) };
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function asPixel(hex) {
  const rgb = parseInt(hex.slice(1), 16); // a pixel is a little-endian ABGR
  return (0xff000000 | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}

function fit() {
  ratio = Math.min(window.devicePixelRatio || 1, 2);
  const box = labels.getBoundingClientRect();
  for (const canvas of [points, labels]) {
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
  }
  image = below.createImageData(points.width, points.height);
  pixels = new Uint32Array(image.data.buffer);
  showAll();
}

function showAll() {
  const wide = labels.clientWidth > 640;
  const left = wide ? 290 * ratio : 0; // the panel is there
  const width = points.width - left, height = points.height;
  view.scale = view.fitted = (0.92 * Math.min(width, height)) / WORLD;
  view.x = left + (width - WORLD * view.scale) / 2;
  view.y = (height - WORLD * view.scale) / 2;
  redraw();
}

function zoom(factor, x = points.width / 2, y = points.height / 2) {
  const scale = Math.min(Math.max(view.scale * factor, view.fitted / 2), view.fitted * 400);
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  redraw();
}

function goTo(row) {
  view.scale = Math.max(view.scale, view.fitted * 12);
  view.x = points.width / 2 - map.places[2 * row] * view.scale;
  view.y = points.height / 2 - map.places[2 * row + 1] * view.scale;
  redraw();
}

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function draw() {
  const started = performance.now();
  const seen = visible();
  if (seen.length <= FEW_POINTS) drawDiscs(seen);
  else drawPixels(seen);
  drawLabels();
  document.body.dataset.frameMs = (performance.now() - started).toFixed(1);
}

function visible() {
  const { places, rows } = map, { scale, x, y } = view;
  const left = (-9 - x) / scale, right = (points.width + 9 - x) / scale;
  const top = (-9 - y) / scale, bottom = (points.height + 9 - y) / scale;
  let count = 0;
  for (let row = 0; row < rows; row++) {
    const px = places[2 * row], py = places[2 * row + 1];
    if (px >= left && px <= right && py >= top && py <= bottom) map.seen[count++] = row;
  }
  return map.seen.subarray(0, count);
}

function radius() {
  const base = map.rows > 100000 ? 0.7 : map.rows > 20000 ? 1 : map.rows > 2000 ? 1.8 : 3.5;
  return Math.min(base + 0.8 * Math.max(0, Math.log2(view.scale / view.fitted)), 7) * ratio;
}

function groupColors() {
  const faint = color("--faint");
  return map.ways[way].groups.map((group, number) => (alone < 0 || alone === number ? group.color : faint));
}

function drawDiscs(seen) {
  const colors = groupColors(), groupOf = map.groupOf[way], r = radius();
  below.fillStyle = color("--page");
  below.fillRect(0, 0, points.width, points.height);
  below.globalAlpha = 0.85;
  // The one that was chosen lies on top.
  const order = colors.map((_, number) => number).sort((a, b) => (a === alone) - (b === alone));
  for (const number of order) {
    below.fillStyle = colors[number];
    below.beginPath();
    for (const row of seen) {
      if (groupOf[row] !== number) continue;
      const x = map.places[2 * row] * view.scale + view.x, y = map.places[2 * row + 1] * view.scale + view.y;
      below.moveTo(x + r, y);
      below.arc(x, y, r, 0, 2 * Math.PI);
    }
    below.fill();
  }
  below.globalAlpha = 1;
}

function drawPixels(seen) {
  const width = points.width, height = points.height, groupOf = map.groupOf[way], places = map.places;
  const colors = Uint32Array.from(groupColors(), asPixel), side = Math.max(1, Math.round(2 * radius() - 0.4));
  pixels.fill(asPixel(color("--page")));
  for (const onTop of alone < 0 ? [true] : [false, true]) {
    for (const row of seen) {
      const group = groupOf[row];
      if (alone >= 0 && (group === alone) !== onTop) continue;
      const left = (places[2 * row] * view.scale + view.x - side / 2) | 0;
      const top = (places[2 * row + 1] * view.scale + view.y - side / 2) | 0;
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      const pixel = colors[group];
      for (let from = top * width + left, last = from + side * width; from < last; from += width) {
        for (let at = from; at < from + side; at++) pixels[at] = pixel;
      }
    }
  }
  below.putImageData(image, 0, 0);
}

function drawLabels() {
  above.clearRect(0, 0, labels.width, labels.height);
  above.lineWidth = 1.6 * ratio;
  above.strokeStyle = color("--accent");
  for (const row of marked.slice(0, MARKED_AT_MOST)) ring(row);
  above.font = `600 ${12 * ratio}px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif`;
  above.textAlign = "center";
  above.textBaseline = "middle";
  above.lineWidth = 3 * ratio;
  above.lineJoin = "round";
  above.strokeStyle = color("--page");
  above.fillStyle = color("--text");
  const taken = [];
  for (const { name, x, y } of map.centres) {
    const half = above.measureText(name).width / 2 + 4 * ratio, tall = 9 * ratio;
    const cx = x * view.scale + view.x, cy = y * view.scale + view.y;
    if (taken.some((box) => Math.abs(box.cx - cx) < box.half + half && Math.abs(box.cy - cy) < 2 * tall)) continue;
    taken.push({ cx, cy, half });
    above.strokeText(name, cx, cy);
    above.fillText(name, cx, cy);
  }
  if (hovered >= 0) {
    above.lineWidth = 2 * ratio;
    above.strokeStyle = color("--text");
    ring(hovered);
  }
}

function ring(row) {
  above.beginPath();
  above.arc(map.places[2 * row] * view.scale + view.x, map.places[2 * row + 1] * view.scale + view.y,
    radius() + 3 * ratio, 0, 2 * Math.PI);
  above.stroke();
}

function nearest(x, y) {
  const worldX = (x - view.x) / view.scale, worldY = (y - view.y) / view.scale, reach = (REACH_PX * ratio) / view.scale;
  const cell = (number) => Math.min(Math.max(number >> 8, 0), CELLS - 1);
  let best = -1, closest = reach * reach;
  for (let line = cell(worldY - reach); line <= cell(worldY + reach); line++) {
    const from = map.grid.starts[line * CELLS + cell(worldX - reach)];
    const to = map.grid.starts[line * CELLS + cell(worldX + reach) + 1];
    for (let at = from; at < to; at++) {
      const row = map.grid.order[at];
      const dx = map.places[2 * row] - worldX, dy = map.places[2 * row + 1] - worldY;
      if (dx * dx + dy * dy < closest) {
        closest = dx * dx + dy * dy;
        best = row;
      }
    }
  }
  return best;
}

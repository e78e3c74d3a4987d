"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// A picture that is shown in two places is carried once.
for (const copy of all("img[data-copy]")) copy.src = document.getElementById(copy.dataset.copy).src;

function showSlice(axis, index) {
  for (const stack of all(`.stack[data-axis="${axis}"]`)) {
    for (const picture of all("img", stack)) {
      const columns = Number(picture.style.getPropertyValue("--columns"));
      picture.style.setProperty("--column", index % columns);
      picture.style.setProperty("--row", Math.floor(index / columns));
    }
  }
  for (const slider of all(`input[data-axis="${axis}"]`)) {
    slider.value = index;
    const label = slider.dataset.labels.split(" ")[index];
    slider.setAttribute("aria-valuetext", label);
    slider.parentElement.querySelector("output").value = label;
  }
  for (const chart of axis === "time" ? all("svg[data-step]") : []) {
    const x = Number(chart.dataset.left) + Number(chart.dataset.step) * Number(chart.closest("[data-frames]").dataset.frames.split(" ")[index]);
    const cursor = chart.querySelector(".cursor");
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }
}
for (const slider of all("input[data-axis]")) {
  slider.addEventListener("input", () => showSlice(slider.dataset.axis, Number(slider.value)));
  showSlice(slider.dataset.axis, Number(slider.value));
}

for (const viewer of all(".viewer")) {
  let blinking = 0;
  const settings = all(".setting[data-for]", viewer);
  const rate = viewer.querySelector("input.rate");

  function move(percent) {
    const place = clamp(Math.round(percent * 10) / 10, 0, 100);
    viewer.style.setProperty("--position", place + "%");
    for (const handle of all(".handle", viewer)) {
      handle.setAttribute("aria-valuenow", Math.round(place));
      handle.setAttribute("aria-valuetext", `${Math.round(place)} % from the left`);
    }
  }
  const position = () => parseFloat(getComputedStyle(viewer).getPropertyValue("--position"));

  function blink() {
    clearInterval(blinking);
    viewer.classList.remove("flip");
    if (viewer.dataset.mode === "blink") {
      blinking = setInterval(() => viewer.classList.toggle("flip"), 1000 * Number(rate.value));
    }
  }
  function compare(choice) {
    const [lower, upper] = choice.value.split(" ");
    viewer.dataset.compare = lower;
    for (const layer of all(".layer", viewer)) {
      layer.classList.toggle("lower", layer.dataset.name === lower);
      layer.classList.toggle("upper", layer.dataset.name === upper);
    }
    for (const tag of all(".tag.left", viewer)) tag.textContent = choice.dataset.lower;
    for (const tag of all(".tag.right", viewer)) tag.textContent = choice.dataset.upper;
  }
  for (const choice of all("input.compare", viewer)) {
    choice.addEventListener("change", () => compare(choice));
    if (choice.checked) compare(choice);
  }
  function use(mode) {
    viewer.dataset.mode = mode;
    for (const setting of settings) setting.hidden = setting.dataset.for !== mode;
    blink();
  }
  for (const choice of all("input.mode", viewer)) {
    choice.addEventListener("change", () => use(choice.value));
    if (choice.checked) use(choice.value);
  }
  rate.addEventListener("input", blink);
  const tile = viewer.querySelector("input.tile");
  const setTile = () => viewer.style.setProperty("--tile", tile.value + "px");
  tile.addEventListener("input", setTile);
  setTile();

  for (const stack of all(".stack", viewer)) {
    const follow = (event) => {
      const box = stack.getBoundingClientRect();
      move((100 * (event.clientX - box.left)) / box.width);
    };
    stack.addEventListener("pointerdown", (event) => {
      if (viewer.dataset.mode !== "divider" || event.button !== 0) return;
      event.preventDefault();
      stack.querySelector(".handle").focus({ preventScroll: true });
      stack.setPointerCapture(event.pointerId);
      follow(event);
    });
    stack.addEventListener("pointermove", (event) => {
      if (stack.hasPointerCapture(event.pointerId)) follow(event);
    });
  }
  for (const handle of all(".handle", viewer)) {
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 10 : 2;
      const steps = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      move(position() + steps[event.key]);
    });
  }
  move(50);
}

for (const button of all("button.play")) {
  const slider = document.querySelector('input[data-axis="time"]');
  let playing = 0;
  button.addEventListener("click", () => {
    clearInterval(playing);
    const start = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", start);
    button.textContent = start ? "Pause" : "Play";
    if (start) playing = setInterval(() => showSlice("time", (Number(slider.value) + 1) % (Number(slider.max) + 1)), 150);
  });
}

for (const heading of all("table.sortable th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of all("th", table)) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const body = table.tBodies[0];
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      const [m, n] = [Number(x), Number(y)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const difference = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y, undefined, { numeric: true }) : m - n;
      return rising ? difference : -difference;
    };
    body.append(...[...body.rows].sort(order));
  });
}

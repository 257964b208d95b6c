// The shown photo, its landmarks and box over it, and all keys of the page. A photo is loaded once; what is
// known of it comes as numbers, in pixels of the photo.
const frame = element.querySelector(".frame"), picture = frame.querySelector("img");
const over = frame.querySelector("svg");
const FURTHEST = 16, STILL = 4;  // zoom at most; pixels that a click may move
let view = null, zoom = 1, left = 0, top = 0;
let press = null, boxing = false, corner = null, pointer = null;

const scale = () => zoom * Math.min(frame.clientWidth / view.width, frame.clientHeight / view.height);

function fit(along, size) {  // an edge of the photo: in the middle, or without a gap beside it
    return size <= along ? (along - size) / 2 : null;
}

function place() {
    const wide = view.width * scale(), high = view.height * scale();
    left = fit(frame.clientWidth, wide) ?? Math.min(0, Math.max(frame.clientWidth - wide, left));
    top = fit(frame.clientHeight, high) ?? Math.min(0, Math.max(frame.clientHeight - high, top));
    picture.style.cssText = `left: ${left}px; top: ${top}px; width: ${wide}px; height: ${high}px`;
    draw();
}

function zoomTo(wanted, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
    if (!view) return;
    const next = Math.min(FURTHEST, Math.max(1, wanted)), ratio = next / zoom;
    [left, top, zoom] = [x - (x - left) * ratio, y - (y - top) * ratio, next];
    place();
}

function make(kind, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    over.append(made);
    return made;
}

function rectangle(box, kind) {
    const s = scale(), [x1, y1, x2, y2] = box;
    make("rect", {
        class: kind, x: left + Math.min(x1, x2) * s, y: top + Math.min(y1, y2) * s,
        width: Math.abs(x2 - x1) * s, height: Math.abs(y2 - y1) * s,
    });
}

function draw() {
    const s = scale();
    over.replaceChildren();
    if (view.searched) rectangle(view.searched, "searched");
    if (view.box) rectangle(view.box, "box");
    for (const { number, name, x, y, score } of view.landmarks) {
        const at = { cx: left + x * s, cy: top + y * s };
        if (number === view.current) make("circle", { ...at, r: 15, class: "current" });
        const mark = make("circle", { ...at, r: score === null ? 6 : 5, class: score === null ? "own" : "found" });
        if (score !== null) mark.style.fill = `hsl(${120 * score} 95% 50%)`;
        make("text", { x: at.cx + 9, y: at.cy - 7 }, number + 1).append(title(name));
    }
    const from = corner ?? (press && press.box ? press.from : null);
    if (boxing && from && pointer) rectangle([...from, ...pointer], "drawing");
    frame.classList.toggle("boxing", boxing);
}

function title(name) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "title");
    made.textContent = name;
    return made;
}

function pixels(event) {  // of the photo, where the pointer is
    const edge = frame.getBoundingClientRect();
    return [(event.clientX - edge.left - left) / scale(), (event.clientY - edge.top - top) / scale()];
}

function send(kind, [x1, y1], [x2, y2] = []) {
    trigger(kind, { photo: view.photo, x1, y1, x2, y2 });
}

function toggle(on = !boxing) {
    boxing = on;
    corner = null;
    const button = document.querySelector("#box");
    if (button) button.classList.toggle("on", boxing);
    if (view) draw();
}

frame.addEventListener("pointerdown", event => {
    if (!view || event.button > 1) return;
    event.preventDefault();
    document.activeElement?.blur();  // names that are typed count, and keys are the page's
    frame.setPointerCapture(event.pointerId);
    const box = boxing && event.button === 0 && !event.shiftKey;
    press = { x: event.clientX, y: event.clientY, left, top, box, from: pixels(event), moved: false,
              main: event.button === 0 };
});

frame.addEventListener("pointermove", event => {
    if (!view) return;
    pointer = pixels(event);
    if (press) {
        const dx = event.clientX - press.x, dy = event.clientY - press.y;
        press.moved ||= Math.hypot(dx, dy) > STILL;
        if (press.moved && !press.box) {
            [left, top] = [press.left + dx, press.top + dy];
            return place();
        }
    }
    if (boxing && (press || corner)) draw();
});

frame.addEventListener("pointerup", event => {
    if (!press) return;
    const { box, from, moved, main } = press, to = pixels(event);
    press = null;
    if (box && (moved || corner)) {
        send("frame", corner ?? from, to);
        toggle(false);
    } else if (box) {
        corner = from;
    } else if (main && !moved && from[0] >= 0 && from[1] >= 0 && from[0] <= view.width && from[1] <= view.height) {
        send("place", from);
    }
});

frame.addEventListener("pointercancel", () => { press = null; });

frame.addEventListener("wheel", event => {
    if (!view) return;
    event.preventDefault();
    const edge = frame.getBoundingClientRect();
    zoomTo(zoom * 1.2 ** (-Math.sign(event.deltaY)), event.clientX - edge.left, event.clientY - edge.top);
}, { passive: false });

new ResizeObserver(() => { if (view) place(); }).observe(frame);

function show() {
    const next = props.value || null;
    if (!next) return;
    if (!view || next.source !== view.source) {
        [zoom, corner, press] = [1, null, null];
        picture.src = next.source;
    }
    view = next;
    frame.dataset.photo = view.photo;
    place();
}

const press_button = name => () => document.querySelector(`#${name}`)?.click();
const KEYS = {
    ArrowDown: () => trigger("turn", { steps: 1 }), ArrowUp: () => trigger("turn", { steps: -1 }),
    ArrowRight: () => trigger("walk", { steps: 1 }), ArrowLeft: () => trigger("walk", { steps: -1 }),
    n: press_button("next"), r: press_button("right"), x: press_button("hide"), a: press_button("adapt"),
    b: () => toggle(), Escape: () => toggle(false), Delete: press_button("unbox"),
    "+": () => zoomTo(zoom * 1.5), "=": () => zoomTo(zoom * 1.5), "-": () => zoomTo(zoom / 1.5),
    0: () => zoomTo(1),
};
document.addEventListener("keydown", event => {
    const typing = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable=true]";
    if (event.target.closest?.(typing)) return;
    const undo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (!undo && (event.ctrlKey || event.metaKey || event.altKey)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = undo ? press_button("undo") : Object.hasOwn(KEYS, key) ? KEYS[key] : null;
    if (!act) return;
    event.preventDefault();
    act();
});
frame.addEventListener("box", () => toggle());
watch("value", show);
show();

// The list of photos. What has changed of one is changed, the others stay as they are.
const there = [], list = element.querySelector(".photos");
const NS = "http://www.w3.org/2000/svg";

function made(number) {
    const item = document.createElement("button");
    item.type = "button";
    item.className = "item";
    item.innerHTML = `<span class="thumb"><img loading="lazy" draggable="false" alt=""><svg></svg></span><span
        class="caption"></span>`;
    item.addEventListener("click", () => { item.blur(); trigger("open", { photo: number }); });
    return { item, said: "" };
}

function draw(each, photo) {
    const [image, over] = each.item.querySelectorAll("img, svg");
    if (image.getAttribute("src") !== photo.source) image.src = photo.source;
    over.setAttribute("viewBox", `0 0 ${photo.width} ${photo.height}`);
    over.replaceChildren(...Object.entries(photo.dots).map(([score, path]) => {
        const dots = document.createElementNS(NS, "path");
        dots.setAttribute("d", path);
        dots.style.stroke = score === "own" ? "#40e0ff" : `hsl(${1.2 * score} 95% 50%)`;
        return dots;
    }));
    each.item.querySelector(".caption").textContent = photo.caption;
    each.item.title = photo.name;
    each.item.classList.toggle("chosen", photo.chosen);
}

function reveal(item) {  // without moving the page
    const start = item.offsetTop, end = start + item.offsetHeight;
    if (start < list.scrollTop || end > list.scrollTop + list.clientHeight) {
        list.scrollTop = start - list.clientHeight / 3;
    }
}

function show() {
    JSON.parse(props.value || "[]").forEach((photo, number) => {
        const each = there[number] ??= made(number), said = JSON.stringify(photo);
        if (!each.item.isConnected) list.append(each.item);
        if (each.said === said) return;
        draw(each, photo);
        if (photo.chosen) reveal(each.item);
        each.said = said;
    });
}

watch("value", show);
show();

// Where photos are added. They are sent a few at a time, so that the first can be clicked while others
// are on their way; each few are told to the page by the places that the server gave them.
const FIRST = 1, LATER = 8;
const field = element.querySelector("input"), zone = element.querySelector(".zone");
const told = element.querySelector(".told"), usual = told.textContent;
let waiting = [], sent = 0, total = 0, busy = false;

async function send() {
    busy = true;
    while (waiting.length) {
        const some = waiting.splice(0, sent ? LATER : FIRST), form = new FormData();
        for (const file of some) form.append("files", file, file.name);
        told.textContent = `Sent ${sent} of ${total}`;
        let answer;
        try {
            const said = await fetch("gradio_api/upload", { method: "POST", body: form });
            answer = said.ok ? { places: await said.json() } : { trouble: await said.text() };
        } catch (error) {
            answer = { trouble: "The page does not answer: is it still running?" };
        }
        if (answer.places) {
            trigger("sent", { files: answer.places.map((place, i) => [place, some[i].name]) });
            sent += some.length;
        } else {
            trigger("refused", { why: answer.trouble });
            waiting = [];
        }
    }
    [busy, sent, total] = [false, 0, 0];
    told.textContent = usual;
}

function add(files) {
    waiting.push(...files);
    total += files.length;
    if (!busy && files.length) send();
}

field.addEventListener("change", () => { add([...field.files]); field.value = ""; });
zone.addEventListener("dragover", event => event.preventDefault());
zone.addEventListener("drop", event => {
    event.preventDefault();
    add([...event.dataTransfer.files]);
});

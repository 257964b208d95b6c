// A question waits until the page has closed the stream that brought the last one's answer. Gradio may
// otherwise end that stream while the question is under way, and its answer is not shown.
{
    const send = window.fetch;
    let last = Promise.resolve(), answered;
    window.fetch = async (what, ...how) => {
        const url = String(what.url ?? what);
        if (url.includes("/queue/data")) what.signal.addEventListener("abort", answered);
        if (!url.includes("/queue/join")) return send(what, ...how);
        const before = last;
        let done;
        last = new Promise(resolve => { done = resolve; });
        await before;
        answered = done;
        let taken = false;
        try {
            const answer = await send(what, ...how);
            taken = answer.ok;
            return answer;
        } finally {
            if (!taken) done();
        }
    };
}

"use strict";
// Fetches the sections of the page every few seconds, puts those that changed in place, and says which states did.
(() => {
  const PACE = 4000;
  const main = document.getElementById("main");
  const news = document.getElementById("news");
  const clock = document.getElementById("as-of");
  const pause = document.getElementById("pause");
  let shown = new Map(), paused = false, lost = false;

  const told = (root) =>
    new Map([...root.querySelectorAll("[data-told]")].map((each) => [each.dataset.name, each.dataset.told]));

  const say = (text) => {
    news.textContent = text;
  };

  const put = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const version = (root) => root.querySelector("#glance").dataset.version;
    // A gateway of another version has another style sheet, and perhaps another script.
    if (version(fresh) !== version(main)) return location.reload();
    const before = told(main), after = told(fresh);
    for (const section of [...fresh.children]) {
      const source = section.outerHTML;
      if (shown.get(section.id) === source) continue;
      shown.set(section.id, source);
      const old = document.getElementById(section.id);
      if (old) old.replaceWith(section);
      else main.append(section);
    }
    const changes = [...after].filter(([name, text]) => before.get(name) !== text).map(([, text]) => text);
    const rest = changes.length > 5 ? `. ${changes.length - 5} more have changed` : "";
    if (changes.length) say(changes.slice(0, 5).join(". ") + rest);
    document.title = document.getElementById("glance").dataset.title;
  };

  const look = async () => {
    if (paused || document.hidden) return;
    try {
      const answer = await fetch("fragment", { cache: "no-cache", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(String(answer.status));
      put(await answer.text());
      const when = new Date(answer.headers.get("date"));
      clock.firstElementChild.dateTime = when.toISOString();
      clock.firstElementChild.textContent = when.toISOString().slice(11, 19);
      if (lost) say("In contact with the gateway again");
      lost = false;
    } catch {
      if (!lost) say(`No contact with the gateway since ${clock.textContent} UTC`);
      lost = true;
    }
    document.body.classList.toggle("lost", lost);
    document.body.classList.toggle("live", !lost && !paused);
  };

  const follow = async () => {
    await look();
    setTimeout(follow, PACE);
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    document.body.classList.toggle("live", !paused && !lost);
    look();
  });
  document.addEventListener("visibilitychange", look);
  follow();
})();

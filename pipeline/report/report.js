// Two conveniences; the page tells everything without them.
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

const dialog = document.getElementById("enlarge");
let card = null;
let season = "";

function show() {
  const pictures = [...card.querySelectorAll(".thumb")].filter((thumb) => thumb.dataset.season === season);
  dialog.querySelector("h3").textContent = `${card.querySelector("h3").textContent}, ${season}`;
  dialog.querySelector(".enlarged").replaceChildren(...pictures.map((thumb) => thumb.firstElementChild.cloneNode()));
}

function step(by) {
  const seasons = [...card.querySelectorAll(".season-names span")].map((span) => span.textContent);
  season = seasons[(seasons.indexOf(season) + by + seasons.length) % seasons.length];
  show();
}

for (const thumb of document.querySelectorAll(".thumb")) {
  thumb.addEventListener("click", () => {
    card = thumb.closest(".card");
    season = thumb.dataset.season;
    show();
    dialog.showModal();
  });
}
dialog?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
dialog?.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("button")) dialog.close();
});

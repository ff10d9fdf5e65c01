// Light, dark or the system's choice. A classic script in <head>, so that the
// page never shows in the wrong colours first.
(() => {
  const themes = ["system", "light", "dark"];
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is blocked: the system's choice
    }
  };
  const show = (theme) => {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
  };

  show(themes.includes(stored()) ? stored() : "system");
  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.theme);
    document.getElementById("theme").addEventListener("click", () => {
      const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
      show(next);
      try {
        localStorage.setItem("theme", next);
      } catch {
        // Not remembered, then.
      }
    });
  });
})();

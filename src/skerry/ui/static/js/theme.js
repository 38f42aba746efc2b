// Before anything is painted: the theme that was chosen here, else what the system says.
try {
  const chosen = localStorage.getItem("skerry.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* no storage: the system's */ }

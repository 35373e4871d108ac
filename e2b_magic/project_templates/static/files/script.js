const button = document.querySelector("button");
const count = document.querySelector("output");

button.addEventListener("click", () => {
  count.value = Number(count.value) + 1;
});

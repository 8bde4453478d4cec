// Opens a live socket from the page that explains them, with a ticket for the token that was given.
const form = document.getElementById("try");
const frames = document.getElementById("frames");
const FRAMES_SHOWN_MAX = 200;
let socket = null;

const show = (line) => {
  frames.textContent = [line, ...frames.textContent.split("\n")].slice(0, FRAMES_SHOWN_MAX).join("\n");
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  socket?.close();
  const token = form.elements.token.value.trim();
  const answer = await fetch("/api/v1/auth/ws-ticket", {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
  });
  const said = await answer.json();
  if (!answer.ok) return show(said.detail);
  socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws?ticket=${said.ticket}`);
  socket.onopen = () => {
    show("open");
    socket.send('{"type": "ping"}');
  };
  socket.onmessage = ({ data }) => show(data);
  socket.onclose = ({ code, reason }) => show(`closed: ${code} ${reason}`);
});

import { createServer } from "node:http";
import { greeting } from "./greeting.js";

const port = Number(process.env.PORT ?? 3000);

createServer((request, response) => {
  const { searchParams } = new URL(request.url, "http://localhost");
  response.setHeader("Content-Type", "text/plain; charset=utf-8");
  response.end(greeting(searchParams.get("name") ?? "world"));
}).listen(port, () => console.log(`Listening on port ${port}`));

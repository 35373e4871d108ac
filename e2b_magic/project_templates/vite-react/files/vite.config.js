import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page is reached by the sandbox's own host name, whatever that is, or below a path of another server's.
export default defineConfig({
  base: process.env.BASE_PATH ?? "/",
  plugins: [react()],
  server: {
    host: true,
    port: Number(process.env.PORT ?? 5173),
    strictPort: true,
    allowedHosts: true,
  },
});

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page is reached by the sandbox's own host name, whatever that is, and by it alone.
export default defineConfig({
  plugins: [react()],
  server: {
    host: true,
    port: Number(process.env.PORT ?? 5173),
    strictPort: true,
    allowedHosts: true,
  },
});

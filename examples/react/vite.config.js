import { defineConfig } from "vite";

// The page and the bridge share one origin, as they would behind one web
// server: what begins with /bridge goes to the bridge, WebSockets included.
const proxy = { "/bridge": { target: process.env.BRIDGE ?? "http://127.0.0.1:8080", ws: true } };

export default defineConfig({
  server: { proxy },
  preview: { proxy },
  // "pollbridge" is a link to a folder with packages of its own, here only.
  resolve: { dedupe: ["@bufbuild/protobuf", "@connectrpc/connect", "react"] },
});

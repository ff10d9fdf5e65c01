// An echo over Socket.IO, to be measured. Its argument is the port.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { pingInterval: 25_000, pingTimeout: 60_000 });
io.on("connection", (socket) => socket.on("echo", (value) => socket.emit("echo", value)));
http.listen(Number(process.argv[2]), "127.0.0.1");

import { gather } from "./pages.js";

gather();

/** What the classic script client.global.js defines, for `/// <reference types="pollbridge/client.global.js" />`. */
declare const pollbridge: typeof import("../dist/index.js");

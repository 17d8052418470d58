// Draws DiceBear "personas" avatars: reads a JSON list of options from stdin, writes a JSON list of SVG strings.
import { createAvatar } from "@dicebear/core";
import { personas } from "@dicebear/collection";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const svgs = JSON.parse(input).map((options) => createAvatar(personas, { seed: "toybox", ...options }).toString());
process.stdout.write(JSON.stringify(svgs));

// CRC-32 (IEEE 802.3, as zlib computes it) of ASCII text.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? 0xedb88320 ^ (rest >>> 1) : rest >>> 1;
  return rest;
});

/** The checksum of a text as a number from 0 to 2^32 - 1. */
export function crc32(text) {
  let rest = 0xffffffff;
  for (let i = 0; i < text.length; i++) {
    rest = TABLE[(rest ^ text.charCodeAt(i)) & 0xff] ^ (rest >>> 8);
  }
  return (rest ^ 0xffffffff) >>> 0;
}

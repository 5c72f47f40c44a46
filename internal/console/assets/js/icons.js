// Shapes, each 16 by 16. A shape means one thing everywhere, so that nothing depends on colour.
import { html } from '../vendor/ui.js';

const shapes = {
  // what the target holds
  in_sync: 'M3 8.4l3.4 3.4L13.2 4.6',
  behind: 'M8.2 3.6L4 8l4.2 4.4M12.8 3.6L8.6 8l4.2 4.4',
  ahead: 'M7.8 3.6L12 8l-4.2 4.4M3.2 3.6L7.4 8l-4.2 4.4',
  waiting: 'M4.2 2.6h7.6M4.2 13.4h7.6M5 2.6c0 3 6 7.8 6 10.8M11 2.6c0 3-6 7.8-6 10.8',
  filtered: 'M2.6 3.4h10.8L9.4 8.6v4.2l-2.8-1.6V8.6z',
  drifted: 'M3 6.2h10M3 9.8h10M10.4 3L5.6 13',
  missing: 'M8 2.6a5.4 5.4 0 0 1 3.9 1.7M13.4 8a5.4 5.4 0 0 1-1.7 3.9M8 13.4a5.4 5.4 0 0 1-3.9-1.7M2.6 8a5.4 5.4 0 0 1 1.7-3.9',
  unknown: 'M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.8.4-1 .9-1 1.6M8 12.4v.1',
  // whether it moves
  retrying: 'M12.9 8.2A4.9 4.9 0 1 1 11.3 4.4M12.8 2.4v2.7h-2.7',
  down: 'M6 2.4v3.2M10 2.4v3.2M4.4 5.6h7.2v1.8a3.6 3.6 0 0 1-7.2 0zM8 11v2.6M2.6 13.6L13.4 2.6',
  parked: 'M2.8 2.8h10.4v10.4H2.8zM6.4 11.2V5h2.2a1.9 1.9 0 0 1 0 3.8H6.4',
  paused: 'M5.6 3.6v8.8M10.4 3.6v8.8',
  held: 'M3.8 7.2h8.4v6H3.8zM5.6 7.2V5.2a2.4 2.4 0 0 1 4.8 0v2',
  // pages and parts
  overview: 'M2 4.4h3.4l5 7.2H14M2 11.600h3.400M10.600 4.400H14',
  keys: 'M7.200 9.200a2.700 2.700 0 1 1-.400-.400L13 2.800M10.800 5l2 2',
  channels: 'M5.600 8h4.800M3.600 6a2 2 0 1 0 .01 0M12.400 6a2 2 0 1 0 .01 0',
  letters: 'M8 1.900L14.100 8 8 14.100 1.900 8zM6.200 6.200l3.600 3.600M9.800 6.200L6.200 9.800',
  workers: 'M2.400 3h11.200v4H2.400zM2.400 9h11.200v4H2.400zM4.600 5h.1M4.600 11h.1',
  activity: 'M1.600 8.200h3l2-5.200 3 10 2-4.800h2.800',
  access: 'M8 1.800l5 2v4.200c0 3-2.200 5.200-5 6.200-2.800-1-5-3.200-5-6.200V3.800z',
  find: 'M7 2.600a4.400 4.400 0 1 0 .01 0M10.400 10.400L14 14',
  menu: 'M2.400 4.400h11.200M2.400 8h11.200M2.400 11.600h11.200',
  display: 'M8 5.200a2.800 2.800 0 1 0 .01 0M8 1.400v1.400M8 13.200v1.400M1.400 8h1.400M13.200 8h1.400M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1',
  person: 'M8 2.600a2.700 2.700 0 1 0 .01 0M2.800 13.600c.4-3 2.500-4.600 5.200-4.600s4.800 1.600 5.200 4.600',
  alert: 'M8 2.200l6.200 11.200H1.800zM8 6.400v3.400M8 11.600v.1',
  info: 'M8 1.800a6.200 6.200 0 1 0 .01 0M8 7.200v4M8 4.800v.1',
  out: 'M9.800 2.800h3.400v10.400H9.800M2.600 8h7M6.800 5.200L9.600 8l-2.800 2.800',
  open: 'M6 3.600L10.400 8 6 12.400',
  up: 'M8 12.800V3.400M4 7.200l4-4 4 4',
  send: 'M2.600 8h10M9 4.400L12.600 8 9 11.600',
  hidden: 'M2 8c1.600-2.800 3.600-4.200 6-4.200S12.400 5.200 14 8c-1.600 2.800-3.600 4.200-6 4.200S3.600 10.800 2 8zM2.800 13.400L13.200 2.600',
  eye: 'M2 8c1.600-2.800 3.600-4.200 6-4.200S12.400 5.200 14 8c-1.600 2.800-3.600 4.200-6 4.200S3.600 10.800 2 8zM8 6.200a1.800 1.800 0 1 0 .01 0',
  changed: 'M2.400 9.200c1.400-2.800 2.900-2.800 5.600-1.200s4.200 1.600 5.600-1.200',
  plus: 'M8 3v10M3 8h10', minus: 'M3 8h10', equal: 'M3 6.200h10M3 9.800h10', close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.600 5.600h7.600v7.600H5.600zM10.400 5.600V2.800H2.800v7.600h2.800',
};

// Shapes that are filled, with what is cut out of them.
const filled = {
  ok: ['M8 4.200a3.800 3.800 0 1 0 .01 0z', ''],
  blocked: ['M5.400 1.600h5.200l3.800 3.800v5.200l-3.800 3.800H5.400l-3.800-3.800V5.400z', 'M4.800 8h6.400'],
  dead: ['M8 1.200L14.800 8 8 14.800 1.200 8z', 'M6.200 6.200l3.600 3.600M9.800 6.200L6.200 9.800'],
  live: ['M8 5a3 3 0 1 0 .01 0z', ''],
};

/** Icon draws a shape. It says nothing to a screen reader: the word beside it does. */
export function Icon({ name }) {
  const full = filled[name];
  return html`<svg class="i" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    ${full ? html`<path class="full" d=${full[0]} />${full[1] && html`<path class="cut" d=${full[1]} />`}` : html`<path d=${shapes[name] ?? shapes.info} />`}
  </svg>`;
}

/** inner returns a shape's parts for use inside another drawing. */
export function inner(name) {
  const full = filled[name];
  return full ? html`<path class="full" d=${full[0]} />${full[1] && html`<path class="cut" d=${full[1]} />`}` : html`<path d=${shapes[name]} />`;
}

// The libraries, in one place: what the other modules import of them.
import { h, render } from '../vendor/preact.js';
import { useEffect, useMemo, useRef, useState, useId } from '../vendor/hooks.js';
import { signal, computed, effect, batch } from '../vendor/signals.js';
import htm from '../vendor/htm.js';

/** html makes elements of a template; text in it is always text. */
export const html = htm.bind(h);
export { render, useEffect, useMemo, useRef, useState, useId, signal, computed, effect, batch };

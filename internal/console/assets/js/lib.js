// The libraries, in one place: what the other modules import of them.
import { h, render, Fragment } from '../vendor/preact.js';
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useId } from '../vendor/hooks.js';
import { signal, computed, effect, batch, useSignal } from '../vendor/signals.js';
import htm from '../vendor/htm.js';

/** html makes elements of a template; text in it is always text. */
export const html = htm.bind(h);
export { h, render, Fragment, useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useId, signal, computed, effect, batch, useSignal };

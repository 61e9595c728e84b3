/** How the dashboard and the page about the API are built: relative links so that it works behind any prefix, no inlined assets so that a strict CSP holds. */
import { join } from 'node:path'
import { defineConfig } from 'vite'

export default defineConfig({
  root: import.meta.dirname,
  base: './',
  build: {
    rollupOptions: {
      // Which plugin took how long is nobody's concern who starts a cluster.
      checks: { pluginTimings: false },
      input: ['index.html', 'docs/index.html'].map((page) => join(import.meta.dirname, page)),
    },
    chunkSizeWarningLimit: 2_000,
    outDir: '../dist/dashboard',
    emptyOutDir: true,
    target: 'es2022',
    // `light-dark()` stays as it is.
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
})

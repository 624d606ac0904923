// Package top is the live status: a screen that is painted over each second, or a line a second where there is no terminal.
//
//	watch:  connecting ──status──► live ──error, or silence for stale──► lost ──a second──► connecting …
//	view:   everything ──tab──► history ──tab──► overrides ──tab──► everything;   p freezes and thaws;   q, Ctrl-C end
//
// Two goroutines besides Run's: one watches, one ends a stream that went silent, because a machine that is gone says nothing.
// Run waits for both. A frozen view goes on watching, so that thawing shows now and the history has no hole.
//
// What fits is shown: the words of the four answers always, their sentences and the tables as the height allows, histories
// beside the tables from wide columns on. History is in memory only, one point a status, the last historyPoints.
//
// Failure rules: the first answer must come, or Run ends with its error: a wrong address shall not look like an outage.
// After that the view stays and says since when there is no answer, and why, until the surgegate is back.
package top

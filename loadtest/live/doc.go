// Package live shows a storm while it runs: a block that is painted over on a terminal, a line every 5 s elsewhere.
//
// The block fits 60 columns and uses up to 160, as many as the terminal has when a sample comes: it may be resized. A line is
// cut, never wrapped, because a wrapped one would not be painted over. The cursor is hidden while the block is there, and
// Close shows it again. Colours are the terminal's own, so that light and dark both work; NO_COLOR takes them away
// (no-color.org).
package live

// Package live shows a storm while it runs: on a terminal a block that is painted over, elsewhere a line every 5 s without
// any escape code.
//
//	New ──Show──► the other screen, no cursor ──Show──► painted over … ──Close──► the first screen, the last frame on it, the cursor
//
// Every row's line is the whole run: once there are more samples than columns, a column is the highest of its samples,
// so that no peak is lost. Memory does not grow with the run: past maxPoints two neighbours become one.
//
// The terminal is asked for its width at every frame, and no line is as wide as it. Frames are on the terminal's other
// screen, as an editor's are, with wrapping off: on the first one a terminal that becomes narrower wraps what is there, at a
// moment of its own (tmux tells the program up to 250 ms later), and no count of lines leads back up. A terminal that is
// gone is no reason to stop a run: errors of the output are dropped.
//
// Colours are the terminal's own eight, so that dark and light both work; with NO_COLOR in the environment there are none.
// Nothing is told by colour alone.
package live

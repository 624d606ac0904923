// Package report makes the files of a run: result.json (Result itself) and one self-contained page with tables and plots,
// for one arm or many. The page loads nothing from anywhere: data, style (page.css) and script (page.js) are in it. It
// follows the reader's colour scheme, fits a phone, prints, and is readable without script but for the plots, whose samples
// it has as tables too.
//
// All plots show the same part of the run. What is shown:
//
//	whole run --drag, + around the cursor--> part --drag, +, −, arrows beyond its edge--> another part
//	part --double click, Escape, button--> whole run
//
// What a run could not see of a store is left out, never 0: its plots, its bounds, its crashes. A result.json of an older
// version makes a page as well; what its samples do not say is left out the same way.
package report

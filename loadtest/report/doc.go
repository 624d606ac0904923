// Package report makes the two files of a comparison: result.json (Result itself) and one self-contained page with tables
// and plots. The page loads nothing from anywhere: data, style and the 150 lines of script that draw the plots are in it.
// It follows the reader's colour scheme, fits a phone, prints, and is readable without script but for the plots.
package report

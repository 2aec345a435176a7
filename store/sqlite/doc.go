// Package sqlite keeps the state in one SQLite file.
package sqlite

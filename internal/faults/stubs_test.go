package faults
import "github.com/jobcontrol/jobcontrol"
var streamFaults, fileFaults, sizeFaults []fault
func registerResults(*jobcontrol.Registry){}
var diskFaults = []fault{
	{"F22", "a store of 10 MB as a crash left it, with its log: damaged in 13 ways", "damaged structure: noticed by open, read or doctor, always", damaged},
	{"disk", "three days of builds, some with logs, results, failures; pruned at the end of each to the last 24 h (SQLite)", "file and log of day 3 ≤ 1.1 × day 2", sqliteDays},
	{"disk-postgres", "the same with PostgreSQL, VACUUM once a day", "database of day 3 ≤ 1.1 × day 2", postgresDays},
}

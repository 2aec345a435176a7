package faults
import "github.com/jobcontrol/jobcontrol"
var streamFaults, fileFaults, sizeFaults []fault
func registerResults(*jobcontrol.Registry){}

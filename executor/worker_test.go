package executor_test

func workerMain()                {}
func tellMain(args []string) int { return 0 }

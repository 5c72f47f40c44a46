package main

func Example() {
	main()
	// Output: Sync success: true
}

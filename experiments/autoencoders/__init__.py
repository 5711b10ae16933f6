"""The autoencoders lab: its file to fill in, its checks, and the program that trains and compares the three."""

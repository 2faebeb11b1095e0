"""Reading the accelerated-SGD form of Eq. (1) off a recipe's program."""

  class Figure {}

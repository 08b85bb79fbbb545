variable "project" {
  description = "Id of the Google Cloud project that pays."
  type        = string
}

variable "region" {
  description = "Where the machine stands. An e2-micro is free of charge in us-west1, us-central1 and us-east1."
  type        = string
  default     = "us-central1"
}

variable "zone" {
  description = "The zone within the region."
  type        = string
  default     = "us-central1-a"
}

variable "machine_type" {
  description = "f1-micro (0.2 of a core, 614 MB) is enough; e2-micro (two times 0.125 of a core, 1 GB) is its successor."
  type        = string
  default     = "e2-micro"

  validation {
    condition     = contains(["f1-micro", "e2-micro", "e2-small"], var.machine_type)
    error_message = "Choose f1-micro, e2-micro or e2-small: Casement needs no more."
  }
}

variable "image" {
  description = "The image of the disk: Debian 12 or later."
  type        = string
  default     = "debian-cloud/debian-12"
}

variable "disk_gb" {
  description = "Size of the disk in GB. A million values take about 0.65 MB; 10 GB are enough for decades of a school."
  type        = number
  default     = 10

  validation {
    condition     = var.disk_gb >= 10 && var.disk_gb <= 1000
    error_message = "The disk has 10 to 1000 GB."
  }
}

variable "instance_name" {
  description = "What the machine is called, and what belongs to it."
  type        = string
  default     = "casement"

  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$", var.instance_name))
    error_message = "A machine is called by a-z, 0-9 and -, up to 20, beginning with a letter."
  }
}

variable "name" {
  description = "DNS name of the gateway, for example air.example.org. Empty: a certificate for the machine's address."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9.-]{0,253}$", var.name))
    error_message = "The name is a DNS name, for example air.example.org."
  }
}

variable "contact" {
  description = "E-mail address that the certificate authority may write to. May be empty."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+)?$", var.contact))
    error_message = "The contact is an e-mail address."
  }
}

variable "package" {
  description = "The Debian package on this computer, as deploy/deb/build prints it. It is put into a bucket of the project, from which the machine fetches it."
  type        = string
}

variable "dns_zone" {
  description = "Name of a managed zone of Cloud DNS in which the record for var.name is made. Empty: make it yourself."
  type        = string
  default     = ""
}

variable "ssh_from" {
  description = "Addresses from which SSH is allowed, for example [\"203.0.113.7/32\"]. The default is Google's Identity-Aware Proxy: gcloud compute ssh --tunnel-through-iap."
  type        = list(string)
  default     = ["35.235.240.0/20"]
}
